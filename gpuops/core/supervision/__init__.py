"""What happens to an attempt, and what follows it."""
