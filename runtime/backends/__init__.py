"""What computes on the CPU: the native library's kernels, ONNX Runtime, and the ranking of large catalogues."""
