"""Values as things to look at. Nothing here reads the world."""
