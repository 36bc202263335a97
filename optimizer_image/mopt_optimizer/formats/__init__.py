"""The formats that a model may come in."""
