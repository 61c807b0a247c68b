"""What a world is, on disk and in memory."""
