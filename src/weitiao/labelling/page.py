"""The page: one HTML file without anything from elsewhere, in the look of the reports."""

from __future__ import annotations

import base64
import hashlib
from functools import cache
from importlib.resources import files

from markupsafe import Markup


@cache
def page(name: str) -> tuple[str, str]:
    """Return the page of a project as HTML, and the content policy that it is served with: its own script and style,
    and requests to its own server.
    """  # fmt: skip
    from jinja2 import Environment, StrictUndefined

    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    script = _file("weitiao.labelling", "label.js")
    style = _file("weitiao.evaluation", "report.css") + _file("weitiao.labelling", "label.css")
    html = environment.from_string(_file("weitiao.labelling", "label.html.j2")).render(
        name=name, script=Markup(script), style=Markup(style)
    )
    return html, (
        f"default-src 'none'; connect-src 'self'; script-src 'sha256-{_digest(script)}'; "
        f"style-src 'unsafe-inline'; img-src data:; form-action 'none'; base-uri 'none'; frame-ancestors 'none'"
    )


def _file(package: str, name: str) -> str:
    return files(package).joinpath("templates", name).read_text(encoding="utf-8")


def _digest(text: str) -> str:
    return base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
