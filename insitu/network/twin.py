"""network -> its twin on the desk: fit, score, predict, as scikit-learn users expect.

Invariant: after the same samples, rates and seed the twin's state equals the board's bit for bit.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from insitu.data.samples import NOTHING, Beyond, Samples, checked
from insitu.errors import ConfigError
from insitu.firmware.build import build_host
from insitu.graph.model import Array, Ends, Kind
from insitu.graph.names import order_of
from insitu.network.compiled import Network
from insitu.network.divergence import Epoch, Watch
from insitu.network.saturation import weights_at_bound
from insitu.run.schedule import training_stream
from insitu.run.stream import Progress, Stream
from insitu.run.twin_library import TwinLibrary
from insitu.tools.compilers import Toolchain

CHUNK = 1024


@dataclass
class History:
    """What happened during `fit`.

    Attributes:
        loss: mean loss of each epoch, each sample before its own update; steps that were broken
            left out, NaN where all were.
        accuracy: share of samples predicted right in each epoch, likewise; of classifiers alone.
        validation: `Twin.score` of the validation samples after each epoch.
        skipped: steps without an error.
        broken: steps that changed nothing, since their scores were no finite numbers.
        left_out: steps of a sampled update from which the last layer alone learnt.
        saturated: rows whose step was clamped, or left out in float.
        at_bound: by layer, see `saturation.weights_at_bound`.
        beyond: what of the samples is clamped.
        steps, seconds: of training alone.
        warnings: sentences about a training that has diverged, see `network.divergence`.
    """

    loss: list[float] = field(default_factory=list)
    accuracy: list[float] = field(default_factory=list)
    validation: list[float] = field(default_factory=list)
    skipped: int = 0
    broken: int = 0
    left_out: int = 0
    saturated: int = 0
    at_bound: dict[str, float] = field(default_factory=dict)
    beyond: Beyond = NOTHING
    steps: int = 0
    seconds: float = 0.0
    warnings: list[str] = field(default_factory=list)

    @property
    def figures(self) -> dict[str, Any]:
        """What `insitu twin --json` says of the training."""
        return {
            "steps": self.steps,
            "loss": self.loss[-1],
            "loss_by_epoch": self.loss,
            "skipped_steps": self.skipped,
            "broken_steps": self.broken,
            "left_out_steps": self.left_out,
            "saturated_rows": self.saturated,
            "weights_at_bound": self.at_bound,
            "beyond_range": asdict(self.beyond),
            "samples_per_second": self.steps / self.seconds,
            "warnings": self.warnings,
        }


class Twin:
    """The generated C of a network, in this process."""

    def __init__(
        self, network: Network, build_folder: Path, *, toolchain: Toolchain | None = None
    ) -> None:
        """Builds the library and starts from the initial state.

        Raises:
            ToolError: there is no compiler, or it failed.
        """
        self.network = network
        path = build_host(network.folder, network.name, build_folder, toolchain=toolchain)
        self.library = TwinLibrary(path, network.name)
        self.library.set_seed(network.training.seed)

    def quantize(self, x: Array) -> Array:
        """Samples, float -> int8[n, elements] as the device takes them.

        Raises:
            DataError: wrong shape, NaN, empty.
        """
        given, network = Samples(np.asarray(x), None, "x"), self.network
        samples = checked(given, network.input_shape, order=order_of(network.graph))
        return self.library.quantize_input(samples.x)

    def beyond(self, x: Array) -> Beyond:
        """How many values of samples x[n, ...] are not finite, or beyond the range."""
        return Beyond.of_counts(self.library.quantize_counted(x)[1])

    def fit(
        self,
        x: Array,
        y: Array | None = None,
        *,
        epochs: int = 1,
        lr: float | None = None,
        seed: int | None = None,
        validation: tuple[Array, Array] | None = None,
        progress: Progress | None = None,
    ) -> History:
        """Train on x[n, ...], one sample a step.

        Args:
            y: classes[n]; for the losses mse and bce targets[n, outputs] or in the shape of the
                network's output, channels first, and by default x itself (an autoencoder).
            lr, seed: instead of those of the network's `TrainingConfig`.
            validation: (x, y) to be scored after each epoch.

        Raises:
            DataError: samples or labels do not suit the network.
            ConfigError: epochs, rate or seed make no sense.
        """
        if epochs < 1:
            raise ConfigError(f"{epochs} epochs; 1 is the least")
        samples = self._checked(x, y)
        stream = self.stream(
            *self._as_taken(samples), steps=epochs * len(samples), lr=lr, seed=seed
        )
        history = History(beyond=self.beyond(samples.x))
        watch = Watch(self.network, stream)
        for epoch in range(epochs):
            first = epoch * len(samples)
            part = slice(first, first + len(samples))
            state = self.state
            watch.epoch(state, self._run_epoch(stream, part, history, progress))
            if validation is not None:
                history.validation.append(self.score(*validation))
        history.at_bound = weights_at_bound(self.network, self.state)
        history.broken, history.warnings = watch.broken, watch.warnings(self.state)
        return history

    def stream(
        self, x: Array, y: Array, *, steps: int, lr: float | None = None, seed: int | None = None
    ) -> Stream:
        """The training run that `fit` makes of quantized x int8[n, elements].

        Args:
            y: labels as a `Stream` has them.
        """
        options = {k: v for k, v in (("lr", lr), ("seed", seed)) if v is not None}
        training = self.network.with_training(**options).training
        return training_stream(
            x, y, steps=steps, rate=training.lr, schedule=training.schedule, seed=training.seed
        )

    def _run_epoch(
        self, stream: Stream, part: slice, history: History, progress: Progress | None
    ) -> Epoch:
        pieces, right = [], 0
        for start in range(part.start, part.stop, CHUNK):
            rows = slice(start, min(start + CHUNK, part.stop))
            piece = stream.part(rows)
            result = self.library.run(piece, seed=start == 0)
            pieces.append(Epoch(result.losses, result.info["skipped"]))
            if not self.network.labels.are_targets:
                right += int((result.predicted == piece.record_labels).sum())
            history.skipped += int((result.info["skipped"] == Ends.SKIPPED).sum())
            history.left_out += int((result.info["skipped"] == Ends.LEFT_OUT).sum())
            history.saturated += int(result.info["saturated"].sum())
            history.seconds += result.seconds
            history.steps += len(piece)
            if progress is not None:
                progress(rows.stop, len(stream))
        epoch = Epoch(*map(np.concatenate, zip(*pieces, strict=True)))
        history.loss.append(epoch.loss)
        if not self.network.labels.are_targets:
            history.accuracy.append(right / (part.stop - part.start))
        return epoch

    def predict(self, x: Array) -> Array:
        """What the network says of x[n, ...].

        Returns:
            int32[n] classes; with the loss bce bool[n, ...], whether an output is likelier 1 than
            0; with mse the outputs themselves, float32[n, ...]; in the shape of the network's
            output, channels first.
        """
        if not self.network.labels.are_targets:
            return self.library.predict(self.quantize(x))[1]
        return self.network.labels.record.decide(self.predict_scores(x))

    def predict_scores(self, x: Array) -> Array:
        """Scores float32[n, outputs] of x[n, ...]; those of a map are channels first.

        They are logits where the loss holds a softmax or a sigmoid, whether or not the network
        ended in one.
        """
        scores = self.library.predict(self.quantize(x))[0]
        return self.network.labels.channels_first(scores)

    def score(self, x: Array, y: Array | None = None) -> float:
        """How good predictions of x[n, ...] are, as `ops.losses.table.Loss` says: accuracy, or R^2.

        Raises:
            DataError: samples or labels do not suit the network.
        """
        return self._judge(self.network.labels.record.score, x, y)

    def judge(self, x: Array, y: Array | None = None) -> dict[str, float | None]:
        """The accuracy (None where there are no classes) and the mean loss of x[n, ...]."""
        accuracy = None if self.network.labels.are_targets else self.score(x, y)
        return {"accuracy": accuracy, "loss": self.loss(x, y)}

    def loss(self, x: Array, y: Array | None = None) -> float:
        """The mean loss of x[n, ...] as the network is now.

        Raises:
            DataError: samples or labels do not suit the network.
        """
        return self._judge(self.network.labels.record.mean, x, y)

    def _judge(self, judge: Callable[[Array, Array], float], x: Array, y: Array | None) -> float:
        samples = self._checked(x, y)
        q, wanted = self._as_taken(samples)
        return judge(self.library.predict(q)[0], wanted)

    def _checked(self, x: Array, y: Array | None) -> Samples:
        given = Samples(np.asarray(x), None if y is None else np.asarray(y), "x")
        network = self.network
        return checked(given, network.input_shape, network.labels, order=order_of(network.graph))

    def _as_taken(self, samples: Samples) -> tuple[Array, Array]:
        """Checked samples -> (x, labels) as the model takes them."""
        return self.quantize(samples.x), self.network.labels.in_own_order(samples.labels)

    @property
    def state(self) -> bytes:
        """The bytes of the model's state struct, as on the board."""
        return self.library.state

    @property
    def sha256(self) -> str:
        """Digest of the state: equal where all weights, biases, ranges and the generator are."""
        return hashlib.sha256(self.state).hexdigest()

    def weights(self) -> Mapping[str, Array]:
        """Trained tensors by name, as stored; see `Network.graph` for scales."""
        names = {t.name for t in self.network.graph.of_kind(Kind.STATE)}
        values = self.network.state.unpack(self.state)
        return {name: value for name, value in values.items() if name in names}
