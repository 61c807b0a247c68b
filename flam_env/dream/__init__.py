"""Running a learned world."""
