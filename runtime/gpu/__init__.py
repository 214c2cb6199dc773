"""Running a TensorRT plan on a GPU: memory, CUDA graphs, arrays of other libraries, and states that stay there."""
