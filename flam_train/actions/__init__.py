"""What few known actions are good for: telling real actions from latent ones, and back."""
