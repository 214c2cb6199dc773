"""The backend's protocol, the backends of the CPU and ONNX Runtime, and the ranking of large catalogues."""
