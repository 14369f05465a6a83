"""Attacks that see only the scores of a classifier, one a file."""
