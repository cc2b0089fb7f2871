"""The demo's pieces as files: a pretrained CNN, and its sensor mounted a quarter turn.

    python examples/turned_digits.py OUT

writes OUT/model.onnx, calibration.npz (upright), adapt.npz and test.npz (turned), then says
which commands to run.
"""

from __future__ import annotations

import sys
from importlib import resources
from pathlib import Path

from insitu.data.datasets import save, turned_digits

COMMANDS = """\
insitu compile {0}/model.onnx --data {0}/calibration.npz --out {0}/c --train last:3
insitu twin {0}/c --data {0}/adapt.npz --test {0}/test.npz --epochs 10 --lr 0.03
insitu run {0}/c --data {0}/adapt.npz --board nrf52840 --steps 300"""


def main(out: Path) -> None:
    """Write the network and the data."""
    out.mkdir(parents=True, exist_ok=True)
    network = resources.files("insitu").joinpath("app", "demo_data", "digits_cnn.onnx")
    (out / "model.onnx").write_bytes(network.read_bytes())
    world = turned_digits()
    save(out / "calibration.npz", world.train)
    save(out / "adapt.npz", world.adapt)
    save(out / "test.npz", world.test_after)
    print(COMMANDS.format(out))


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: python examples/turned_digits.py OUT")
    main(Path(sys.argv[1]))
