"""How values are shown. Only the terminal is read here, nothing else of the world."""
