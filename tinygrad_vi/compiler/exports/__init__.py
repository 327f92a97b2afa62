"""Compiled programs for other systems: C, StableHLO, ONNX, PyTorch.

Each is read when it is asked for.
"""

__all__: list[str] = []
