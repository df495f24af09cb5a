"""Arrays on disk: .npy, .npz."""
