"""The checks of preflight: each is a pure function of a snapshot."""
