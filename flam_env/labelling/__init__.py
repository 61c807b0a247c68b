"""From video to latent actions."""
