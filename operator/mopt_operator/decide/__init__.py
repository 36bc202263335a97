"""What to do for one resource: pure decisions on what is observed. Nothing here makes a call."""
