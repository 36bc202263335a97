"""Models in PyTorch, eager and compiled."""
