"""The measure stage: every variant compared and timed on this hardware."""
