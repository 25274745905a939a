"""Data: a corpus' counts as training reads them: packed in memory, from disk, or on a GPU."""
