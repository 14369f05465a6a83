"""Harden image classifiers, make them small, and attack the file that ships."""
