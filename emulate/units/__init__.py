"""An emulated matrix unit: matrix products and convolutions, every product and every sum rounded."""
