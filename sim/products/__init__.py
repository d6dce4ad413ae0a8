"""Matrix products whose operands are quantized, forward and backward, in torch and JAX."""
