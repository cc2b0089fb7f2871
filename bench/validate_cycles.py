"""Firmware -> cycles by our Cortex-M0+ table beside those of rp2040js, a cycle-counting emulator.

All that differs is PUSH with LR and POP with PC: the manual (ARM DDI 0484, table 3-1) counts LR
and PC among the registers of the list, rp2040js 1.4.1 does not, hence the 0.3 %.

Needs node, npm and arm-none-eabi-gcc, which nothing else of insitu needs; not part of CI.
Run: python bench/validate_cycles.py [FOLDER that holds or gets node_modules/rp2040js]
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "tests/harness"))
from rp2040js import install

from insitu.measure.cycles import Code, count_cycles
from insitu.run.profile import BlockCount

HERE = Path(__file__).parent / "cycles"
FLASH_ORIGIN = 0x1000_0000
LEVELS = ("-Os", "-O2", "-O3")


def build(level: str, folder: Path) -> Path:
    """The image of the firmware at an optimisation level."""
    elf, image = folder / "firmware.elf", folder / "firmware.bin"
    flags = ["-mcpu=cortex-m0plus", "-mthumb", "-std=gnu99", "-ffreestanding", "-nostdlib", level]
    sources = map(str, ("-T", HERE / "rp2040.ld", HERE / "firmware.c", "-lgcc", "-o", elf))
    subprocess.run(["arm-none-eabi-gcc", *flags, *sources], check=True)
    subprocess.run(["arm-none-eabi-objcopy", "-O", "binary", elf, image], check=True)
    return image


def compare(module: Path, image: Path) -> tuple[int, int, int]:
    """Instructions, our cycles and rp2040js's cycles."""
    command = ["node", str(HERE / "run.mjs"), str(module), str(image)]
    answer = json.loads(subprocess.run(command, check=True, capture_output=True).stdout)
    code = Code({FLASH_ORIGIN: image.read_bytes()})
    blocks = {
        address: BlockCount(
            bytes=code.at(address).size_bytes,
            instructions=1,
            executions=executions,
            taken=taken,
            marks=0,
        )
        for address, executions, taken in answer["blocks"]
    }
    [ours] = count_cycles({0: blocks}, code, core="cortex-m0plus").values()
    return sum(block.executions for block in blocks.values()), ours, answer["cycles"]


def main() -> None:
    """Prints one line an optimisation level."""
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(sys.argv[1] if len(sys.argv) > 1 else temporary)
        module = install(folder)
        print("level  instructions  cycles (ours)  cycles (rp2040js)  difference")
        for level in LEVELS:
            instructions, ours, theirs = compare(module, build(level, Path(temporary)))
            difference = 100 * (ours / theirs - 1)
            print(f"{level:5}{instructions:14,}{ours:15,}{theirs:19,}{difference:+11.3f} %")


if __name__ == "__main__":
    main()
