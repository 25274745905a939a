"""What is in a corpus, and how well it covers a target: one family of measures a file, plain functions of arrays.

They know no study and no file. `corpuscle.measuring` applies them to a study's corpora, on one set of genes and one
space of principal components.
"""
