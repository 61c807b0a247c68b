"""From video and a few labels to a policy that plays the real game: the arms of Table 4 (paper 5.3, C.3)."""
