"""Wrap torch models in place: layers and functions whose products follow a recipe."""
