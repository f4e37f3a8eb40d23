"""The formats by name."""

from __future__ import annotations

from collections.abc import Mapping

from weitiao.errors import DataError, nearest
from weitiao.labelling.exchange.argilla import Argilla
from weitiao.labelling.exchange.base import Exchange
from weitiao.labelling.exchange.label_studio import LabelStudio
from weitiao.labelling.exchange.tables import Csv, JsonLines

FORMATS: Mapping[str, Exchange] = {each.name: each for each in (Csv(), JsonLines(), LabelStudio(), Argilla())}


def format_called(name: str) -> Exchange:
    """Return a format; a `DataError` for an unknown one."""
    if name not in FORMATS:
        raise DataError(f"unknown format '{name}'", where="--format", fix=nearest(name, FORMATS))
    return FORMATS[name]
