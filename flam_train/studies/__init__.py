"""Studies: many runs, a report of each, and tables of the reports."""
