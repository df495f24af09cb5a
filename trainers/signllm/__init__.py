"""Text to sign poses: a transformer that gives all frames of a sentence at once."""
