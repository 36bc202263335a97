"""The configuration: its model, the file that it is read from, amounts of compute, log lines."""
