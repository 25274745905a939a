"""Surrogates: one a file."""
