"""Where files that are not trusted are read. Call it from a process without credentials."""
