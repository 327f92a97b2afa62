"""Agreement with other engines: PyTorch, JAX, micrograd."""
