"""What makes a world, phase by phase, and what it minimises."""
