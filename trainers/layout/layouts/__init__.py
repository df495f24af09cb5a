"""Posters and screens of one split, whatever files hold them. Torch-free."""
