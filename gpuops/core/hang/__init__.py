"""When a job hangs."""
