"""Pictures made by computation, whose alpha or depth is known exactly."""
