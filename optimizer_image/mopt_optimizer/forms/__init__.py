"""The forms that prepare makes beside the FP32 model."""
