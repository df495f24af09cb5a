"""What preflight checks: each check is a plain function of what was seen."""
