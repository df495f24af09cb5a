"""Values as things to look at. Nothing here reads the world but the terminal that shows them."""
