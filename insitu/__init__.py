"""insitu: train a neural network in place, fully quantized, on a Cortex-M microcontroller."""

import sys

from insitu.config import QuantizationConfig, TrainingConfig
from insitu.data import datasets
from insitu.errors import InsituError
from insitu.network.trainable import TrainableNetwork
from insitu.network.twin import History, Twin
from insitu.pipeline import compare, compile, from_sklearn, from_torch, load  # noqa: A004
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
    "datasets",
    "find_board",
    "from_sklearn",
    "from_torch",
    "load",
]
sys.modules[f"{__name__}.datasets"] = datasets  # its public name; it lives with what reads data
__version__ = "0.1.0"
