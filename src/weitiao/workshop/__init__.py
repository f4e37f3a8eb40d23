"""What data is made of and made better with, before a training reads it."""
