"""`make demo`: from an empty machine to a measured result, and back (`make demo-down`)."""
