"""Shared machinery of all attacks: the attack, its result, criteria, search state, checkpoint."""
