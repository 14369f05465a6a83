"""Benchmarks, a folder a subject: `python -m benchmarks.attacks` from the root of the repository."""
