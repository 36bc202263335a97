"""The strategy table: every form of a torch model, built, compared and timed at once."""
