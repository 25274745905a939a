"""Reports: figures, tables and one page, from a run's folder."""
