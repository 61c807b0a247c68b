"""What a researcher runs: data, training, evaluation."""
