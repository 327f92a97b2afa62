"""Compiled programs for other systems: C, StableHLO, PyTorch.  Each is a file of its own, read when it is asked for."""

__all__: list[str] = []
