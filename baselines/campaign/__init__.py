"""The paper's comparison (section 5) as one plan of trainings: made in any pieces, and printed from their reports."""
