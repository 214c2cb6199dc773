"""The model as an ONNX graph for every runtime."""
