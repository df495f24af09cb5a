"""Whether a job hangs."""
