"""From the command line to a plan, and to the GPUs it claims."""
