"""Expression: variable genes, principal components and neighbours of a corpus' cells."""
