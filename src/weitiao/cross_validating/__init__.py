"""Cross-validation: the folds and what is told of them, methods by their own settings, a search nested in each fold."""
