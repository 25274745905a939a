"""Statistics: reads score rows, and nothing else."""
