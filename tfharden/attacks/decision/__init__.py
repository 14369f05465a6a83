"""Attacks that see only the decisions of a classifier."""
