"""Learns what reads a world from little that is known of it: real actions, told from latent ones and back.

The networks lie in `flam_env.heads`; what learns rewards and ends belongs here, too.
"""
