"""ONNX files: written, described, verified; weights inside or beside them."""
