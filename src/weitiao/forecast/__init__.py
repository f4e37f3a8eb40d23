"""What a run will take on this machine, told before it: memory and time; and what is chosen so that it fits."""

from __future__ import annotations

from weitiao.forecast.budgets import again_within_memory, within_memory, within_time
from weitiao.forecast.told import Forecast, forecast

__all__ = ["Forecast", "again_within_memory", "forecast", "within_memory", "within_time"]
