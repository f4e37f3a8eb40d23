"""The loop: features, a model and settings in; events and trained weights out."""
