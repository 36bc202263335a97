"""What Auto knows of and chooses, a pure function of the facts at hand."""
