"""Which examples to label next: strategies of active learning, and what they would have brought on a labelled set."""

from __future__ import annotations

from weitiao.acquisition.choosing import Query, choose

__all__ = ["Query", "choose"]
