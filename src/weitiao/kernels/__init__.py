"""The same formulas in fewer passes over memory: what a model's modules compute with on a CPU while Weitiao runs it.

Each kernel is a pure function with a parity test against what it stands for (`tests/parity/test_kernels.py`).
"""

from weitiao.kernels.allocator import keep_freed_memory
from weitiao.kernels.quick import halve, laid_out, quickly
from weitiao.kernels.threads import one_thread

__all__ = ["halve", "keep_freed_memory", "laid_out", "one_thread", "quickly"]
