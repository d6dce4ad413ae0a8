"""How sensitive layers are, and which format each of them gets."""
