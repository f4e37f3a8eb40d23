"""Self-training: a model labels a pool of texts, and learns from what it is sure of, round by round."""
