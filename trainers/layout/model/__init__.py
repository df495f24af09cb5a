"""The network, what it sees of elements, and the noise it removes."""
