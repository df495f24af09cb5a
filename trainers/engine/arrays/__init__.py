"""Arrays on disk: .npy, .npz, pickles."""
