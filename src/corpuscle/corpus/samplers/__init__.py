"""Samplers: one file each."""
