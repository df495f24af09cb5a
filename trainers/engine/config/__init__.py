"""Settings: declared, read, merged."""
