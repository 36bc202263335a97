"""ONNX files, with or without external data: writing, inspection, verification."""
