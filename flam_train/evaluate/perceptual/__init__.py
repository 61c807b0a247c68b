"""LPIPS and FVD: what networks that were trained on photographs and on videos see of a prediction."""
