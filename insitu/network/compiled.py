"""A compiled network: what `pipeline.compile` makes, `insitu compile` writes and all others read.

Invariant: `folder` holds the C sources, `insitu.json` and `constants.npz`; they are all that later
commands need, and loading them gives the same network.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Self

import numpy as np

from insitu.artifacts import Lifetime, Measurement, MemoryPlan
from insitu.config import TrainingConfig
from insitu.data.labels import LabelType, label_type
from insitu.errors import InsituError, OutputError
from insitu.generate import StateLayout, state_layout
from insitu.graph import text
from insitu.graph.model import SCRATCH_LIMIT, Graph, Kind, Phase, QParams, Role, Tensor
from insitu.measure.cost import step_figures
from insitu.measure.quality import Quality
from insitu.network import folder as on_disk
from insitu.network.json_text import json_text
from insitu.ops import OPS
from insitu.plan.text import plan_text
from insitu.target.board import Board, Memory

PARTS = {Role.WEIGHT: "weights", Role.BIAS: "biases", Role.BUFFER: "gradient_buffers"}
"""Of the state of a trained layer, by role; what has another is "other_state"."""


COUNTS = ("instructions", "cycles", "worst_instructions", "worst_cycles")
"""Of a `Measurement`, by node."""


@dataclass(frozen=True, eq=False, kw_only=True)
class Network:
    """A network that can be trained on the desk and on a board.

    Attributes:
        name: prefix of the C symbols, "insitu_NAME".
        input_shape: of one sample of the users' data, as the network's own input has it.
        graph: one training step in integers; its FORWARD nodes are the prediction.
        float_graph: the simplified network before quantization.
        trained: names of the trained layers.
        measurement: what one training step costs on `board`.
        full_scratch: the same on an unconstrained board, where this one had too little for all the
            scratch that kernels take to be fast; else None.
        folder: where the C sources lie.
        quality: how far it agrees with the float network before it is trained.
        temporary: keeps `folder` alive while the network was never saved.
    """

    name: str
    input_shape: tuple[int, ...]
    graph: Graph
    float_graph: Graph
    trained: frozenset[str]
    training: TrainingConfig
    plan: MemoryPlan
    board: Board
    measurement: Measurement
    folder: Path
    temporary: on_disk.ScratchFolder | None = None
    full_scratch: Measurement | None = None
    quality: Quality = field(default_factory=Quality)

    @cached_property
    def state(self) -> StateLayout:
        """Layout of the state struct."""
        return state_layout(self.graph)

    @cached_property
    def _spare_folder(self) -> on_disk.ScratchFolder:
        return on_disk.ScratchFolder()

    @property
    def build_folder(self) -> Path:
        """Where to build: beside the sources, or in a temporary place if they are read-only."""
        if os.access(self.folder, os.W_OK):
            return self.folder / "build"
        return self._spare_folder.path

    @property
    def input_qparams(self) -> QParams | None:
        """Quantization of the input; None where it is float32."""
        return self.graph.sample.qparams

    @property
    def labels(self) -> LabelType:
        """What it is taught with."""
        return label_type(self.graph, self.training.loss)

    @property
    def classes(self) -> int:
        """Number of scores."""
        return self.labels.outputs

    @property
    def figures(self) -> dict[str, Any]:
        """What `insitu compile --json` says."""
        m, board = self.measurement, self.board
        ram = m.ram_bytes + m.stack_bytes
        return {
            "board": board.name,
            "core": board.core,
            "ram_bytes": ram,
            "flash_bytes": m.flash_bytes,
            "stack_bytes": m.stack_bytes,
            "interrupt_frame_bytes": m.interrupt_frame_bytes,
            "state_bytes": self.state.nbytes,
            "arena_bytes": self.plan.arena_bytes,
            "arena_lower_bound_bytes": self.plan.lower_bound_bytes,
            "less_scratch": self.less_scratch,
            "board_ram_bytes": board.ram_bytes,
            "board_flash_bytes": board.flash_bytes,
            "trainable_parameters": self.trainable_parameters,
            "trained_layers": sorted(self.trained),
            **self.training_state,
            "macs_forward": self.macs(Phase.FORWARD),
            "macs_backward": self.macs(Phase.BACKWARD) + self.macs(Phase.UPDATE),
            **step_figures(self.graph, m, board),
            "toolchain": m.toolchain,
            **asdict(self.quality),
            "fits": ram <= board.ram_bytes and m.flash_bytes <= board.flash_bytes,
        }

    @property
    def less_scratch(self) -> dict[str, Any] | None:
        """What the board's RAM costs, or who limited the scratch; None where nothing did."""
        limited = [n.name for n in self.graph.nodes if SCRATCH_LIMIT in n.attributes]
        if not limited:
            return None
        m = self.full_scratch
        return {
            "kernels": limited,
            "ram_bytes_wanted": None if m is None else m.ram_bytes + m.stack_bytes,
            "instructions_wanted": None if m is None else sum(m.instructions.values()),
            "instructions": sum(self.measurement.instructions.values()),
        }

    @property
    def trainable_parameters(self) -> int:
        """Weights and biases that training changes."""
        return sum(t.size for t in self._changed if t.role in (Role.WEIGHT, Role.BIAS))

    @property
    def training_state(self) -> dict[str, Any]:
        """Bytes that a trained parameter takes in the state struct, in the mean, and by what."""
        parts = dict.fromkeys((*PARTS.values(), "other_state"), 0)
        for tensor in self._changed:
            parts[PARTS.get(tensor.role or Role.STATISTIC, "other_state")] += tensor.nbytes
        count = max(self.trainable_parameters, 1)
        return {
            "bytes_per_trained_parameter": round(sum(parts.values()) / count, 3),
            "training_state_bytes": parts,
        }

    @property
    def _changed(self) -> tuple[Tensor, ...]:
        """State tensors of the trained layers."""
        return tuple(t for t in self.graph.of_kind(Kind.STATE) if t.layer in self.trained)

    def macs(self, phase: Phase) -> int:
        """Nominal multiply-accumulates of a phase."""
        return sum(n.op.macs(n, self.graph) for n in self.graph.nodes if n.phase is phase)

    # ---- to and from a folder ---------------------------------------------------------------

    def save(self, folder: str | Path) -> Self:
        """Write everything into `folder`, which must be new, empty or an earlier result.

        Returns:
            The network as it lies there.

        Raises:
            OutputError: the folder holds something else or cannot be written; it is as before.
        """
        folder = Path(folder)
        on_disk.check_replaceable(folder)
        place = folder.resolve()
        try:
            place.parent.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryDirectory(dir=place.parent, prefix=".insitu-") as made:
                fresh = Path(made) / "result"
                on_disk.copy_sources(self.folder, fresh)
                manifest = json_text(self._manifest()) + "\n"
                (fresh / on_disk.MANIFEST).write_text(manifest, encoding="utf-8")
                _save_arrays(fresh / on_disk.ARRAYS, self)
                (fresh / on_disk.PLAN).write_text(plan_text(self.plan), encoding="utf-8")
                on_disk.put_in_place(fresh, place, before=Path(made) / "before")
        except OSError as error:
            raise on_disk.cannot_write(folder, error) from None
        return replace(self, folder=folder, temporary=None)

    def with_training(self, **options: Any) -> Self:
        """The same network, to be trained with other options (lr, seed, schedule).

        Raises:
            ConfigError: an option makes no sense.
        """
        return replace(self, training=replace(self.training, **options))

    def _manifest(self) -> dict[str, Any]:
        return {
            "format": on_disk.FORMAT,
            "name": self.name,
            "input_shape": list(self.input_shape),
            "trained": sorted(self.trained),
            "training": asdict(self.training),
            "figures": self.figures,
            "board": asdict(self.board),
            "measurement": asdict(self.measurement),
            "unlimited": None if self.full_scratch is None else asdict(self.full_scratch),
            "quality": asdict(self.quality),
            "plan": asdict(self.plan),
            "graph": text.dump(self.graph)[0],
            "float_graph": text.dump(self.float_graph)[0],
        }

    @classmethod
    def load(cls, folder: str | Path) -> Self:
        """The network that `insitu compile` left in a folder.

        Raises:
            OutputError: there is none, or it is damaged or of another version.
        """
        folder = Path(folder)
        manifest = on_disk.read_manifest(folder)
        try:
            with np.load(folder / on_disk.ARRAYS, allow_pickle=False) as archive:
                arrays = dict(archive)
            return cls(**_fields(folder, manifest, arrays))
        except InsituError:
            raise
        except Exception as error:  # noqa: BLE001 - a damaged archive raises almost anything
            raise OutputError(
                f"{folder}: is damaged ({' '.join(str(error).split()) or type(error).__name__}); "
                "compile it again"
            ) from None


def _fields(folder: Path, value: Mapping[str, Any], arrays: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of a `Network` from what `Network.save` wrote."""

    def part(prefix: str) -> dict[str, Any]:
        return {k.removeprefix(prefix): v for k, v in arrays.items() if k.startswith(prefix)}

    plan, full_scratch = value["plan"], value.get("unlimited")
    board, quality = value["board"], value.get("quality", {})
    return {
        "name": value["name"],
        "input_shape": tuple(value["input_shape"]),
        "graph": text.load(value["graph"], part("step/"), OPS),
        "float_graph": text.load(value["float_graph"], part("float/"), OPS),
        "trained": frozenset(value["trained"]),
        "training": TrainingConfig(**value["training"]),
        "plan": MemoryPlan(
            **{**plan, "lifetimes": tuple(Lifetime(**life) for life in plan["lifetimes"])}
        ),
        "board": Board(**{**board, "memories": tuple(Memory(**m) for m in board["memories"])}),
        "measurement": _measurement(value["measurement"]),
        "full_scratch": None if full_scratch is None else _measurement(full_scratch),
        "quality": Quality(**{**quality, "warnings": tuple(quality.get("warnings", ()))}),
        "folder": folder,
    }


def _measurement(value: Mapping[str, Any]) -> Measurement:
    counts = {
        key: {int(node): count for node, count in value[key].items()}
        for key in COUNTS
        if key in value
    }
    return Measurement(**{**value, **counts})


def _save_arrays(path: Path, network: Network) -> None:
    arrays = {f"step/{k}": v for k, v in text.dump(network.graph)[1].items()}
    arrays |= {f"float/{k}": v for k, v in text.dump(network.float_graph)[1].items()}
    np.savez_compressed(path, allow_pickle=False, **arrays)
