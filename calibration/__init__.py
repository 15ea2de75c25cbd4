"""Calibration: from representative images to the integer range of every tensor."""
