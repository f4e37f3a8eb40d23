"""Nothing that is committed names a path of one machine or the host of a package registry."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
# Written so that no pattern matches its own line.
FORBIDDEN = {
    "an absolute path of one machine": re.compile(r"(?<![\w.~}])/(?:work|root|opt)/[\w.]|(?<![\w.~}])/home/(?!user)\w"),
    "the host of a registry": re.compile(r"pypi\.org|pythonhosted\.org|npmjs\.org|npmjs\.com|\bdeb\.debian\.org"),
}


def committed_files() -> list[Path]:
    """Files that git tracks, or would track with ``git add .``."""
    listed = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"]
    try:
        names = subprocess.run(listed, cwd=ROOT, capture_output=True, check=True, text=True).stdout
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("not a git working tree")
    return [path for name in names.split("\0") if name and (path := ROOT / name).is_file()]


def offences(text: str) -> list[str]:
    """What is forbidden in a text, each with its line number."""
    return [
        f"line {number} names {what}: {line.strip()[:120]}"
        for number, line in enumerate(text.splitlines(), 1)
        for what, pattern in FORBIDDEN.items()
        if pattern.search(line)
    ]


def test_the_patterns_find_what_they_are_for():
    slash = "/"
    assert offences(f"open({slash!r}work{slash}main/x)".replace("'", ""))
    assert offences(f"cd {slash}root{slash}.cache")
    assert offences("https://" + "pypi" + ".org/simple")
    assert not offences("see tests/work/x, ./opt/x, ~/home/x and pypi:snownlp")


def test_committed_files_name_no_local_path_and_no_registry_host():
    found = []
    for path in committed_files():
        try:
            text = path.read_text(encoding="utf-8")
        except UnicodeDecodeError:
            continue  # a picture or a data file
        found += [f"{path.relative_to(ROOT)}: {offence}" for offence in offences(text)]
    assert not found, "\n".join(found)
