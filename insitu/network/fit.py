"""compiled network -> the same in C and measured, with less scratch on a constrained board."""

from __future__ import annotations

from dataclasses import replace

from insitu.data.samples import Samples
from insitu.errors import FitError
from insitu.firmware.build import too_small
from insitu.generate import generate, state_layout
from insitu.graph.model import Array, Graph, Kind
from insitu.network.board_run import Tools, largest_of, measure_network
from insitu.network.folder import ScratchFolder, write_sources
from insitu.network.probe import Probe
from insitu.network.trainable import TrainableNetwork
from insitu.plan import fit_arena, plan_memory
from insitu.plan.lifetimes import find_lifetimes
from insitu.plan.place import lower_bound
from insitu.target.board import Board


def measured(
    network: TrainableNetwork, x: Array, samples: Samples, tools: Tools
) -> TrainableNetwork:
    """Generated and measured; with less scratch on a constrained board.

    Args:
        x, samples: see `Probe`.
    """
    wanted = _generated(network)
    probe = Probe(wanted, x, samples)
    try:
        return replace(wanted, measurement=measure_network(wanted, probe, tools=tools))
    except FitError as error:
        if error.arena_bytes is None:
            raise
        refusal = error
    constrained = _fitted(wanted, refusal, probe, tools)
    return replace(
        constrained, full_scratch=measure_network(wanted, probe, tools=tools, limits=False)
    )


def least_bytes(step: Graph) -> dict[str, int]:
    """The bytes of each memory that its data take, without code, stack and buffers."""
    state = state_layout(step)
    constants = step.of_kind(Kind.CONSTANT)
    return {
        "flash": sum(tensor.nbytes for tensor in (*constants, *state.initial)),
        "RAM": state.nbytes + lower_bound(find_lifetimes(step)[0]),
    }


def check_least(step: Graph, board: Board) -> None:
    """Refuse a step whose data alone are larger than the board, before any C is made of it.

    Args:
        step: with the least scratch that its kernels can do with.

    Raises:
        FitError: as where it is linked, with what it needs at least; `figures` say that, too.
    """
    needs = least_bytes(step)
    has = {"flash": board.flash_bytes, "RAM": board.ram_bytes}
    short = [memory for memory in needs if needs[memory] > has[memory]]
    if not short:
        return
    figures = {
        "board": board.name,
        "core": board.core,
        "at_least": True,
        **{f"{memory.lower()}_bytes": needs[memory] for memory in needs},
        **{f"board_{memory.lower()}_bytes": has[memory] for memory in has},
        "state_bytes": state_layout(step).nbytes,
    }
    says = too_small(board, short[0], needs[short[0]], has[short[0]], at_least=True)
    raise FitError(f"{says}; {largest_of(step, plan_memory(step), short)}", figures)


def _fitted(
    wanted: TrainableNetwork, refusal: FitError, probe: Probe, tools: Tools
) -> TrainableNetwork:
    """With the scratch that the board has room for; the stack may be another then.

    Raises:
        FitError: it has no room for the least either.
    """
    error = refusal
    while (room := error.arena_bytes) is not None:
        step, plan = fit_arena(wanted.graph, room)
        network = _generated(replace(wanted, graph=step, plan=plan))
        try:
            return replace(network, measurement=measure_network(network, probe, tools=tools))
        except FitError as again:
            error = again
        if plan.arena_bytes > room or error.arena_bytes is None or error.arena_bytes >= room:
            break
    if plan.arena_bytes == wanted.plan.arena_bytes:
        raise refusal
    raise FitError(
        f"{error} (with the least scratch that its kernels can do with; with all of it "
        f"{refusal.figures['ram_bytes']} bytes)",
        error.figures,
    )


def _generated(network: TrainableNetwork) -> TrainableNetwork:
    """With its C in a folder of its own."""
    source = generate(network.graph, network.plan, network.name, seed=network.training.seed)
    folder = ScratchFolder()
    write_sources(source, folder.path)
    return replace(network, folder=folder.path, temporary=folder)
