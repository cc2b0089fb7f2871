"""float graph, samples -> integer graph: ranges (calibrate), then scales (assign)."""

from insitu.quantize.assign import quantize_graph, quantize_with_names
from insitu.quantize.calibrate import calibrate

__all__ = ["calibrate", "quantize_graph", "quantize_with_names"]
