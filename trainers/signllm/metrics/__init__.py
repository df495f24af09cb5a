"""What generated signs are judged by."""
