"""Errors of quantizers: by integration over densities, by samples, as training has them."""
