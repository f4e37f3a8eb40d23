"""Methods: which weights move."""
