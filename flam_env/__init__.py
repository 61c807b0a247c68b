"""Learned simulators: Factored Latent Action World Models as Gymnasium environments."""
