"""From a trained model to the bundle that recblr.runtime opens.

Importing this package loads nothing: PyTorch and ONNX come with its modules.
"""
