"""Float graph -> the float graph that is quantized, and its layers."""
