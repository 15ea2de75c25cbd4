"""Other ways out of PyTorch than our own writer: ONNX, and TensorFlow by onnx2tf."""
