"""The study file and the plan it expands to."""
