"""Published click networks, key for key, and the starter's own network."""
