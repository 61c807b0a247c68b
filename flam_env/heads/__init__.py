"""What reads a world and is learned from a few known actions or rewards; all of a world's are in `World.heads`."""
