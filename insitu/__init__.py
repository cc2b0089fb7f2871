"""insitu: train a neural network in place, fully quantized, on a Cortex-M microcontroller."""

from insitu.api import TrainableNetwork
from insitu.boards import Board, find_board
from insitu.config import QuantizationConfig, TrainingConfig
from insitu.errors import InsituError
from insitu.pipeline import compare, compile, from_torch, load  # noqa: A004
from insitu.twin import History, Twin

__all__ = [
    "Board",
    "History",
    "InsituError",
    "QuantizationConfig",
    "TrainableNetwork",
    "TrainingConfig",
    "Twin",
    "compare",
    "compile",
    "find_board",
    "from_torch",
    "load",
]
__version__ = "0.1.0"
