"""Keras networks by `model.export(format="onnx")`, with PyTorch behind Keras."""
# /// script
# requires-python = ">=3.11"
# dependencies = ["keras==3.12.0", "torch==2.13.0", "onnx==1.23.2", "onnxscript==0.7.2"]
# ///

import os
import sys

os.environ["KERAS_BACKEND"] = "torch"

import keras
import numpy as np
from networks_of_keras import NETWORKS

for name, make in NETWORKS.items():
    keras.utils.set_random_seed(0)
    model = make()
    model(np.zeros((1, *model.input_shape[1:]), np.float32))
    model.export(f"{sys.argv[1]}/{name}.onnx", format="onnx", verbose=False)
