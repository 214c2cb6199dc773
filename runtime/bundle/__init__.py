"""What a bundle is, how it is opened and verified, and how its ONNX file is read without the onnx package."""
