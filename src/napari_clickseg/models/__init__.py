"""Weights: where they come from, how they are read, and the model they make."""
