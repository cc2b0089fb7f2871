"""Do depthwise kernels by planes compute what those by positions do, within their scratch?

The source that is built for cores with the DSP extension, with pairs in portable C, on the desk
under the sanitizers.
"""

from __future__ import annotations

import random
import subprocess
from pathlib import Path

import pytest
from fakes import toolchain_or_skip

from insitu.ops.kernels import bands as planes
from insitu.runtime import FILES, INCLUDE_FLAGS

pytestmark = pytest.mark.toolchain

SOURCES = (
    *("conv_grouped", "conv_grouped_grad_weight", "depthwise_compact"),
    *("depthwise", "depthwise_grad_weight", "depthwise_pack"),
    *("depthwise_correlate", "depthwise_epilogue", "depthwise_microkernel"),
)
TRIALS = 400
Shape = dict[str, int]


def shape(rng: random.Random) -> Shape | None:
    kernel = rng.choice([(3, 3), (3, 3), (5, 5), (7, 7), (rng.randint(1, 8), rng.randint(1, 8))])
    stride = rng.choice([(1, 1), (1, 1), (2, 2), (rng.randint(1, 4), rng.randint(1, 4))])
    size = rng.choice([(1, 1), (1, rng.randint(1, 70)), (rng.randint(1, 19), rng.randint(1, 19))])
    top, left, bottom, right = (rng.randint(0, k) for k in (*kernel, *kernel))
    if rng.random() < 0.5:
        top, left, bottom, right = (k // 2 for k in (*kernel, *kernel))
    out = (
        (size[0] + top + bottom - kernel[0]) // stride[0] + 1,
        (size[1] + left + right - kernel[1]) // stride[1] + 1,
    )
    channels = rng.choice([1, 2, 3, 4, 5, 7, 8, 9, 12, 16])
    if min(out) < 1:
        return None
    first = "in_height in_width in_channels out_height out_width out_channels kernel_height"
    values = (*size, channels, *out, channels, *kernel, *stride, top, left)
    rest = "kernel_width stride_height stride_width pad_top pad_left"
    names = ("tile_height", "tile_width", "tile_out", "tile_in", "tile_bytes")
    tile = dict.fromkeys(names, 0)
    return {**dict(zip(f"{first} {rest}".split(), values, strict=True)), **tile}


def trial(rng: random.Random, c: Shape) -> list[int]:
    """A line of the program's input."""
    row = c["kernel_height"] * c["kernel_width"]
    choices = (planes.forward_band, planes.grad_input_band, planes.gradient_band)
    limit = rng.choice([planes.MOST_BYTES, planes.MOST_BYTES, rng.randint(0, 4096)])
    bands = [choose(c, limit) for choose in choices]
    block = [2 * 16 * row, 2 * 16 * row, 4 * 16 * row]
    before = [0, 0, 4 * planes.LANES * row]
    needed = [max(a, b + of.bytes) for a, b, of in zip(block, before, bands, strict=True)]
    assert all(n <= max(a, limit) for a, n in zip(block, needed, strict=True))
    live = []
    for kernel in (1, 2):
        added = planes.nonzero_bytes(c) if bands[kernel].lines and rng.random() < 0.8 else 0
        needed[kernel] += added
        live.append(added)
    return [*c.values(), *(of.lines for of in bands), *needed, *live, rng.randint(0, 10**6)]


@pytest.mark.parametrize("enough", [6 * 1024, 1], ids=["whole-maps", "line-by-line"])
def test_planes_compute_what_positions_do(
    enough: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(planes, "ENOUGH_BYTES", enough)
    rng = random.Random(enough)
    shapes = [c for c in (shape(rng) for _ in range(TRIALS)) if c]
    trials = [trial(rng, c) for c in shapes]
    assert sum(values[17] > 0 for values in trials) > TRIALS / 3
    assert sum(values[-2] > 0 for values in trials) > TRIALS / 40
    done = subprocess.run(
        [build(tmp_path)],
        input="\n".join(" ".join(map(str, values)) for values in trials),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout == f"{len(trials)} trials\n", done.stdout + done.stderr


def build(folder: Path) -> Path:
    """The program, with planes and under the sanitizers."""
    program = folder / "depthwise_planes"
    sources = [FILES[f"{name}.c"] for name in (*SOURCES, "rows")]
    toolchain_or_skip("host", "gcc").run(
        *("-std=c99", "-O1", "-g", "-DINSITU_PLANES=1", *INCLUDE_FLAGS),
        *("-fsanitize=address,undefined", "-fno-sanitize-recover=all", "-ffp-contract=off"),
        *(
            str(Path(__file__).parents[1] / "c/depthwise_planes.c"),
            *map(str, sources),
        ),
        *("-o", str(program)),
    )
    return program
