"""Data sources, the episode store and the token cache."""
