"""What needs Triton, and no GPU: `make test-kernels`."""
