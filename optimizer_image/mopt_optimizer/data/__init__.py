"""Samples and ground truth: images, arrays, and what stands in where there are none."""
