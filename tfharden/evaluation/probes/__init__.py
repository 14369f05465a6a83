"""Probes: measurements of a model beside its accuracy under attack, one a file."""
