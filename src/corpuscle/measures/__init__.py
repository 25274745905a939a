"""Measures: what is in a corpus, and how well it covers a target; nothing is trained."""
