"""The Procgen games as a source of video."""
