"""The optimizer: a library, and the Job entry point on top of it."""
