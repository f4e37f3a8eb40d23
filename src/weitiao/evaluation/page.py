"""One HTML file that needs nothing else: a template of ours with style and script inside, written whole."""

from __future__ import annotations

import base64
import hashlib
import os
import tempfile
from pathlib import Path
from typing import Any

from markupsafe import Markup

from weitiao.evaluation.svg import clean
from weitiao.metrics.words import spoken


def write(html: str, path: Path) -> None:
    """Write a page to `path`, whole or not at all; raises `OSError`."""
    content = html.encode("utf-8", "replace")
    with tempfile.NamedTemporaryFile(dir=path.parent, prefix=f".{path.name}.", delete=False) as file:
        try:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
            os.chmod(file.name, 0o644)  # noqa: PTH101 - a temporary file is private; a report is to be shared
            os.replace(file.name, path)  # noqa: PTH105
        except BaseException:
            os.unlink(file.name)  # noqa: PTH108
            raise


def page(template: str, **values: Any) -> str:
    """Return a page as HTML. All texts are escaped; a content policy in it forbids any request."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("weitiao.evaluation"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=_printable,
    )
    environment.filters |= {"spoken": spoken, "percent": _percent}
    script = environment.get_template("report.js.j2").render()
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    style = Markup(environment.get_template("report.css").render())
    return environment.get_template(template).render(script=Markup(script), script_hash=digest, style=style, **values)


def _printable(value: Any) -> Any:
    """Keep what no HTML file can hold out of it; `Markup` is clean already."""
    return clean(value) if isinstance(value, str) and not isinstance(value, Markup) else value


def _percent(value: float) -> str:
    return f"{100 * value:.1f}%"
