"""mopt, the command line. Importing it loads neither torch nor a runtime."""
