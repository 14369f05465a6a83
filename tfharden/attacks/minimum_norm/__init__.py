"""Minimum-norm attacks: the smallest perturbation that reaches the criterion, one attack a file."""
