"""Stage 4, evaluation: tasks ask questions of fitted models; metrics answer them in numbers."""
