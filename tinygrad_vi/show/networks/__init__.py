"""Networks as the lecture notes draw them: circles, vectors, steps in time."""
