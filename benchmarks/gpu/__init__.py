"""Check the Triton kernels on the GPU of this machine against the CPU, bit for bit, and time them: `make gpu-check`."""
