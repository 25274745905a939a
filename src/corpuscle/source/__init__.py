"""Stage 1, sources: cell tables with lazily read counts."""
