"""How arrays get there: rounding arrays of NumPy, PyTorch and JAX to formats."""
