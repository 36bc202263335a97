"""The example of `mopt demo`: made on the spot, from what the optimizer's libraries bring."""
