"""The API server: the calls, what the watches have shown, and who of several operators works."""
