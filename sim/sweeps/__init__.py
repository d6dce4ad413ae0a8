"""Sweeps over tasks or functions, their store, statistics and pictures."""
