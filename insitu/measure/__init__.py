"""What a network costs on a board, and what quantization changes."""
