"""How good a layout is."""
