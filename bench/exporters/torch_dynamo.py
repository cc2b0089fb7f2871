"""PyTorch's exporter since 2.5, torch.onnx.export(dynamo=True)."""
# /// script
# requires-python = ">=3.11"
# dependencies = ["torch==2.13.0", "onnx==1.23.2", "onnxscript==0.7.2"]
# ///

import sys

import torch
from torch_networks import NETWORKS

for name, (make, shape) in NETWORKS.items():
    torch.manual_seed(0)
    example = torch.zeros(1, *shape)
    torch.onnx.export(make().eval(), (example,), f"{sys.argv[1]}/{name}.onnx", dynamo=True)
