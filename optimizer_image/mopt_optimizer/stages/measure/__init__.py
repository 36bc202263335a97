"""The measure stage: every variant compared and timed on the hardware at hand."""
