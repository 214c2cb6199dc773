"""TensorRT engines beside the graph."""
