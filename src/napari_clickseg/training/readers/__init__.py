"""Images with what is labelled in them, from wherever users keep them."""
