"""Intervals, baselines, comparisons and the report."""
