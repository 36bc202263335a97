"""Pages of docs/reference, made from the program: the API, its reasons, the commands."""
