"""Trained models as real bits, in memory and in files."""
