"""How every matrix product of a model is quantized, as data: quantizers, recipes, rules."""
