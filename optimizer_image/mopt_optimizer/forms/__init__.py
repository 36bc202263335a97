"""What prepare makes beside the FP32 model."""
