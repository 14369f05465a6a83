"""Arithmetic of the kernels that the twin imitates: rounding, sums, products, tables."""
