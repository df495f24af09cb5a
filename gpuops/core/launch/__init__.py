"""What a launch is: profile, choice of GPUs, plan, command."""
