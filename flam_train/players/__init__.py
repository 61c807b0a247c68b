"""Who plays: planner, taught and cloned policies, and how well they do."""
