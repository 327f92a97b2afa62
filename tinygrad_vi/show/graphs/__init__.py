"""Computation graphs of scalars as pictures: every value, or neurons and layers from further away."""
