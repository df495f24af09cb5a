"""The network: text encoder, gloss generator, pose decoders."""
