"""Measures, rollouts and reports."""
