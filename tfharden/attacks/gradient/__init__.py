"""Gradient attacks: one ascent loop, one step rule a file."""
