"""What can be done to a corpus, one alteration a file."""
