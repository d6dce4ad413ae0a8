"""Arithmetic in which every operation is rounded to a format."""
