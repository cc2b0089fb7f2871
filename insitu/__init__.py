"""insitu: train a neural network in place, fully quantized, on a Cortex-M microcontroller."""

from insitu.config import QuantizationConfig, TrainingConfig
from insitu.errors import InsituError
from insitu.network.trainable import TrainableNetwork
from insitu.network.twin import History, Twin
from insitu.pipeline import compare, compile, from_torch, load  # noqa: A004
from insitu.target.board import Board, find_board

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
