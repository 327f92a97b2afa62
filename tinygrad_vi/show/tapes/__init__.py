"""A tape in print: trace tables, and the derivation of a derivative by the chain rule."""
