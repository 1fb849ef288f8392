"""Training of click models: data, simulated clicks, losses, the loop."""
