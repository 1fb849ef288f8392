"""Between napari's layers and click sessions; no Qt in here."""
