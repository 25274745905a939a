"""Stage 2, corpora: which cells a model is trained on, and how they were chosen."""
