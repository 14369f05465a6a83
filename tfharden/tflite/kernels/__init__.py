"""How the kernels of each set round, add and multiply."""
