"""Weitiao beside its peers, measured on one machine: see docs/benchmarks.md."""
