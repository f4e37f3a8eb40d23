"""A place to label: people and a model in turns, in a page or a terminal; what they do is on the disk at once."""
