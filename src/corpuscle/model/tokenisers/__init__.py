"""From a study's counts to the tokens that a model of genes reads; a file per way to write a cell."""
