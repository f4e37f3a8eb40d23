"""Measured choice: which model and method suits data, and would more data help? By short runs, within a given time."""
