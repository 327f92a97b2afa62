"""Training as plots: courses of the loss, boundaries, gradients by layer, surfaces, films."""
