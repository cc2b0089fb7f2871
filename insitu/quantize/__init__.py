"""float graph, samples -> integer graph: ranges (calibrate), then scales (assign)."""

from insitu.quantize.assign import first_float, quantize_graph, quantize_with_names
from insitu.quantize.branches import with_alike_branches
from insitu.quantize.calibrate import calibrate
from insitu.quantize.units import input_units

__all__ = [
    "calibrate",
    "first_float",
    "input_units",
    "quantize_graph",
    "quantize_with_names",
    "with_alike_branches",
]
