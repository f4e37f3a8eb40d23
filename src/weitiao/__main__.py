"""``python -m weitiao`` is ``weitiao``."""

from __future__ import annotations

import sys

from weitiao.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
