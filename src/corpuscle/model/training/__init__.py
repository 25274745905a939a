"""Training: the loop, its budget, optimiser and checkpoints, and learning from labels."""
