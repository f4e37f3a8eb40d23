"""Looking for better settings: what is drawn, one trial, the search that tells the story, what it found, its page."""
