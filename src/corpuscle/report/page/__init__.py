"""Page: a run's folder read, and the page written."""
