"""Plans and results of the Jobs."""
