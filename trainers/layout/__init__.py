"""layout: the elements of a poster find their places (layout diffusion)."""
