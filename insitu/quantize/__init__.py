"""float graph, samples -> integer graph: sizes and ranges (sized), then scales (assign)."""

from insitu.quantize.assign import first_float, quantize_graph, quantize_with_names
from insitu.quantize.branches import with_alike_branches
from insitu.quantize.calibrate import calibrate
from insitu.quantize.sized import Sized, refine, size
from insitu.quantize.units import input_units

__all__ = [
    "Sized",
    "calibrate",
    "first_float",
    "input_units",
    "quantize_graph",
    "quantize_with_names",
    "refine",
    "size",
    "with_alike_branches",
]
