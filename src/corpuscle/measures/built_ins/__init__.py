"""What is in a corpus, and how well it covers a target: a measure a file, found by listing this folder."""
