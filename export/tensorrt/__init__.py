"""TensorRT plans of the graph."""
