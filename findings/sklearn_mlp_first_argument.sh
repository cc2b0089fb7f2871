#!/bin/sh
# scikit-learn 1.9.1: the first argument of MLPClassifier is hidden_layer_sizes, that of MLPRegressor
# is loss. MLPClassifier((12,)) builds a network with 12 hidden units, MLPRegressor((12,)) is refused,
# and not before fit. A good guess would have been that twins take the same arguments in the same
# places, as they did up to version 1.6, where loss was no argument of the regressor. It matters to
# whoever turns code for a classifier into code for a regressor: name hidden_layer_sizes.
# Seen in scikit-learn 1.9.1 from PyPI. Exit status 1 where this is no longer so.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check scikit-learn==1.9.1
"$folder/venv/bin/python" - >"$folder/seen" <<'PYTHON'
import inspect

import numpy as np
import sklearn
from sklearn.neural_network import MLPClassifier, MLPRegressor

print("scikit-learn", sklearn.__version__)
x = np.linspace(0, 1, 20)[:, None]
for kind, y in ((MLPClassifier, x[:, 0] > 0.5), (MLPRegressor, x[:, 0])):
    first = next(iter(inspect.signature(kind).parameters))
    try:
        fitted = kind((12,), solver="lbfgs", max_iter=500, random_state=0).fit(x, y)
        outcome = f"{fitted.coefs_[0].shape[1]} hidden units"
    except ValueError as error:
        outcome = type(error).__name__
    print(kind.__name__, first, outcome)
PYTHON
cat >"$folder/known" <<'KNOWN'
scikit-learn 1.9.1
MLPClassifier hidden_layer_sizes 12 hidden units
MLPRegressor loss InvalidParameterError
KNOWN
cat "$folder/seen"
diff "$folder/known" "$folder/seen"
