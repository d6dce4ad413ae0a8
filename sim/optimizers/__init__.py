"""Optimizers that keep weights, gradients and states in formats."""
