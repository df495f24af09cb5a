"""rvq: a residual-VQ autoencoder of body motion."""
