"""Ways data lies on disk: one file a format, and `detect`, which chooses."""
