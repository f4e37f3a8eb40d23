"""Scorers: gold labels and predictions in, scores out. Nothing here imports torch."""
