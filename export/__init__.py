"""From a trained model to the bundle that every engine opens.

Importing this package loads nothing: PyTorch and ONNX come with its modules.
"""
