"""Logs of nuPlan as films: what their databases say, the images below a sensor root, how the car moved, scenarios."""
