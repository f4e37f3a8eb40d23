"""What a run leaves: its folder, and the artifact that ships."""
