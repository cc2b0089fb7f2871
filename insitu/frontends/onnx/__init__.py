"""ONNX files -> Model: reader, patterns, quantized pairs."""
