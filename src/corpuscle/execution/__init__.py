"""Execution: from a study to a folder with results: jobs, worker processes, and what they leave."""
