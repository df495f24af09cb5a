"""The host: memory, cgroups, network, kernel log, interpreters."""
