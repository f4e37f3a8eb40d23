"""What a run will take on this machine, told before it: memory and time; and what is chosen so that it fits."""

from __future__ import annotations

from weitiao.forecast.budgets import within_memory, within_time
from weitiao.forecast.told import Forecast, forecast

__all__ = ["Forecast", "forecast", "within_memory", "within_time"]
