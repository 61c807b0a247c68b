"""Whether a world is a simulator: what its long dreams are like, beside real video from the same starts."""
