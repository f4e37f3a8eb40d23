"""Which model to take for data: a shortlist from the catalogue and this machine, with forecasts and reasons."""

from __future__ import annotations

from weitiao.recommendation.recommended import Choice, Recommendation, known_models, recommend

__all__ = ["Choice", "Recommendation", "known_models", "recommend"]
