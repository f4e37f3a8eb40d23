"""A part of a large pool: rows like a target, unlike each other, of a given perplexity, or of good quality."""
