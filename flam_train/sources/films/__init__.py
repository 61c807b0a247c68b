"""Films as people have them, and how they become episodes: found, told apart, cut, split, imported, looked at."""
