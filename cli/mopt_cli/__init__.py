"""mopt, the command line."""
