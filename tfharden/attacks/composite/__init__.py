"""Attacks that are made of other attacks, one a file."""
