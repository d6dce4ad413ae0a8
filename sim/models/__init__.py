"""The models of the tasks: what they are made of as data, and their computation in JAX and in torch."""
