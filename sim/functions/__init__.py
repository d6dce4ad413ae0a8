"""Rewrite functions of JAX arrays so that their products follow a recipe."""
