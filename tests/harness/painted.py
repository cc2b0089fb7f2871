"""A network, a core, a compiler -> the bound of its code's stack, and what runs of it painted."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from case_layers import Case
from case_models import Compiled
from cases import CASES
from fakes import MACHINES, board, emulator_or_skip, toolchain_or_skip
from hypothesis import strategies as st
from made_cases import networks
from made_graphs import graphs

from insitu.errors import InsituError
from insitu.firmware.build import build_firmware
from insitu.graph.scheme import PartialUpdate, Scheme
from insitu.network.folder import write_sources
from insitu.run import emulator
from insitu.run.stream import Stream

SCHEMES = (
    Scheme(),
    Scheme(),
    Scheme(precision="mixed"),
    Scheme(precision="float32"),
    Scheme(precision="float32", momentum=0.9),
    Scheme(batch=4, momentum=0.9),
    Scheme(batch=3, buffer="int16"),
    Scheme(loss="mse"),
    Scheme(preset="paper", batch=2),
    Scheme(partial=PartialUpdate(kind="dynamic", least=0.2, most=0.6)),
    Scheme(partial=PartialUpdate(kind="sampled", least=0.1, most=0.5)),
    Scheme(partial=PartialUpdate(kind="bias")),
)

ANY_NETWORK = st.one_of(
    st.builds(
        lambda case, trained: replace(case, trained=trained or case.trained),
        st.sampled_from(list(CASES.values())),
        st.sampled_from(["", "all", "last:1", "last:2"]),
    ),
    networks(),
    graphs(),
)
ANY_BUILD = st.tuples(
    st.sampled_from(SCHEMES), st.sampled_from(list(MACHINES)), st.sampled_from(["gcc", "zig"])
)


@dataclass(frozen=True)
class Painted:
    """What some runs of a firmware needed, beside what no run can need more than."""

    bound_bytes: int
    deepest: tuple[int, ...]


def paint(
    case: Case, scheme: Scheme, machine: str, toolchain: str, *, seeds: Sequence[int], steps: int
) -> Painted | None:
    """A run for each seed of its data; None where the scheme does not suit the network."""
    compiled = Compiled(case, scheme)
    try:
        source = compiled.source()
    except InsituError:
        return None
    core, fpu = MACHINES[machine]
    chosen = toolchain_or_skip(core, toolchain)
    emulator_or_skip(core)
    with tempfile.TemporaryDirectory(prefix="insitu-") as name:
        folder = Path(name)
        write_sources(source, folder)
        made = board(core, fpu=fpu)
        firmware = build_firmware(folder, "model", made, folder, toolchain=chosen, limits=False)
        runs = (emulator.run(firmware, _harder(compiled.stream(steps, seed=s), s)) for s in seeds)
        deepest = tuple(run.stack_bytes for run in runs)
    return Painted(firmware.stack_bytes - firmware.interrupt_frame_bytes, deepest)


def _harder(stream: Stream, seed: int) -> Stream:
    """Some data as they are, some of one value or mostly of zeros, all labelled alike or not."""
    x, labels = stream.x.copy(), stream.labels.copy()
    if seed % 4 == 1:
        x[:] = x.max()
    elif seed % 4 == 2:
        x[:, ::2] = 0
    elif seed % 4 == 3:
        labels[:] = labels[:1]
    return replace(stream, x=x, labels=labels)
