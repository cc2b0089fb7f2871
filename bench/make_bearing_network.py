"""CWRU at one motor load -> a pretrained network and the data of another load, as files.

    INSITU_DATA=FOLDER python bench/make_bearing_network.py OUT [--old 0] [--new 3]

FOLDER holds cwru.npz. Writes OUT/model.onnx (the network of examples/bearing_cnn.py, trained at
the old load), calibration.npz (old load), adapt.npz and test.npz (new load), and prints the
accuracy at both loads. Needs torch.
"""

from __future__ import annotations

import argparse
import importlib.util
from pathlib import Path

import numpy as np
import onnx
import torch
import torch.nn.functional as F
from onnx import numpy_helper
from torch import Tensor

from insitu.data.datasets import Dataset, cwru, save, split

EXAMPLE = Path(__file__).parents[1] / "examples" / "bearing_cnn.py"
SEED, EPOCHS, BATCH, LR, MOMENTUM = 0, 40, 32, 0.02, 0.9

Params = dict[str, Tensor]


def untrained() -> onnx.ModelProto:
    """The network of the example."""
    spec = importlib.util.spec_from_file_location("bearing_cnn", EXAMPLE)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    model: onnx.ModelProto = module.build(SEED)
    return model


def forward(params: Params, x: Tensor) -> Tensor:
    """Logits `[n, 9]` of `x[n, 1, 512]`."""
    x = F.relu(F.conv1d(x, params["conv1.weight"], params["conv1.bias"], stride=4))
    x = F.max_pool1d(x, 2)
    x = F.relu(F.conv1d(x, params["conv2.weight"], params["conv2.bias"], stride=2))
    return F.linear(x.mean(2), params["fc.weight"], params["fc.bias"])


def pretrain(model: onnx.ModelProto, data: Dataset) -> Params:
    """Its weights after training on `data`."""
    params = {
        t.name: torch.tensor(numpy_helper.to_array(t).copy(), requires_grad=True)
        for t in model.graph.initializer
    }
    steps = EPOCHS * -(-len(data) // BATCH)
    sgd = torch.optim.SGD(params.values(), lr=LR, momentum=MOMENTUM)
    cosine = torch.optim.lr_scheduler.CosineAnnealingLR(sgd, steps)
    random = np.random.RandomState(SEED)
    x, y = torch.tensor(data.x), torch.tensor(data.y)
    for _ in range(EPOCHS):
        order = torch.tensor(random.permutation(len(data)))
        for rows in order.split(BATCH):
            sgd.zero_grad()
            F.cross_entropy(forward(params, x[rows]), y[rows]).backward()
            sgd.step()
            cosine.step()
    return {name: param.detach() for name, param in params.items()}


def accuracy(params: Params, data: Dataset) -> float:
    """Per cent right."""
    predicted = forward(params, torch.tensor(data.x)).argmax(1).numpy()
    return float((predicted == data.y).mean() * 100)


def main() -> None:
    """Train, write, and print the accuracies at both loads."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("out", type=Path)
    parser.add_argument("--old", type=int, default=0, choices=range(4), help="motor load, hp")
    parser.add_argument("--new", type=int, default=3, choices=range(4), help="motor load, hp")
    options = parser.parse_args()
    torch.set_num_threads(1)
    data, out = cwru(), options.out
    old, new = (data.take(data.extra["load"] == load) for load in (options.old, options.new))
    train, held_out = (old.take(rows) for rows in split(old.y, (0.7, 0.3), seed=SEED))
    adapt, test = (new.take(rows) for rows in split(new.y, (0.5, 0.5), seed=SEED))
    model = untrained()
    params = pretrain(model, train)
    for tensor in model.graph.initializer:
        tensor.CopyFrom(numpy_helper.from_array(params[tensor.name].numpy(), tensor.name))
    out.mkdir(parents=True, exist_ok=True)
    onnx.save(model, out / "model.onnx")
    for name, part in (("calibration", train), ("adapt", adapt), ("test", test)):
        save(out / f"{name}.npz", part)
    print(f"load {options.old}, held out: {accuracy(params, held_out):6.2f} %")
    print(f"load {options.new}, test:     {accuracy(params, test):6.2f} %")


if __name__ == "__main__":
    main()
