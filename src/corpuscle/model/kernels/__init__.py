"""Fused kernels for the CPU, compiled when first called; each has a plain torch counterpart that gives the same."""
