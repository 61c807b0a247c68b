"""Measures of a simulator: what its latent actions cost and mean, and whether its dreams hold."""
