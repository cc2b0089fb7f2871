"""ONNX operators -> nodes, one module a kind."""
