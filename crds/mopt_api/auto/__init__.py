"""The variants that Auto knows and chooses, as a pure function of the known facts."""
