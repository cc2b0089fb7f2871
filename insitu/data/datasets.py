"""name -> Dataset: real data for the demo, the benchmarks and the tests.

Invariant: `x` is float32, samples first, channels first, finite; `y` lies in [0, len(classes)).
A data set is looked for in the folder named by INSITU_DATA, where the system's packages put it,
in the cache, and last on the internet; whatever is found is held against its checksum where one
is known. The same call returns the same arrays on every machine.
"""

from __future__ import annotations

import gzip
import hashlib
import importlib
import io
import os
import urllib.request
import zipfile
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from insitu.errors import DataError, OutputError

Array = npt.NDArray[Any]

PARTS = ("train", "test")
DOWNLOAD_SECONDS = 30


@dataclass(frozen=True, kw_only=True)
class Dataset:
    """Labelled samples.

    Attributes:
        x: float32, `x[n, channels, ...]`.
        y: int64 classes, `y[n]`.
        classes: their names.
        extra: other facts about each sample, e.g. "load" for `cwru`; each `[n]`.
    """

    name: str
    x: Array
    y: Array
    classes: tuple[str, ...]
    extra: Mapping[str, Array] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.y)

    def take(self, rows: Array) -> Dataset:
        """The samples at these indices (or where this mask is true), in that order."""
        extra = {key: value[rows] for key, value in self.extra.items()}
        return replace(self, x=self.x[rows], y=self.y[rows], extra=extra)


@dataclass(frozen=True, kw_only=True)
class Shift:
    """A world that changes: what a network was trained in, and what it meets afterwards.

    Attributes:
        train, test_before: the old world; the network was pretrained on `train`.
        adapt, test_after: the new world; no sample of one part stands in another, except that
            `test_before` and `test_after` are the same samples seen in both worlds.
    """

    train: Dataset
    test_before: Dataset
    adapt: Dataset
    test_after: Dataset


@dataclass(frozen=True)
class Remote:
    """A gzipped file on the internet, and the SHA-256 of what it holds.

    The sum is of the uncompressed bytes: mirrors and distributions compress differently.
    """

    url: str
    sha256: str


_ZALANDO = "https://raw.githubusercontent.com/zalandoresearch/fashion-mnist/master/data/fashion/"

FASHION_MNIST = {
    "train-images-idx3-ubyte.gz": Remote(
        _ZALANDO + "train-images-idx3-ubyte.gz",
        "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888",
    ),
    "train-labels-idx1-ubyte.gz": Remote(
        _ZALANDO + "train-labels-idx1-ubyte.gz",
        "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9",
    ),
    "t10k-images-idx3-ubyte.gz": Remote(
        _ZALANDO + "t10k-images-idx3-ubyte.gz",
        "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b",
    ),
    "t10k-labels-idx1-ubyte.gz": Remote(
        _ZALANDO + "t10k-labels-idx1-ubyte.gz",
        "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34",
    ),
}
"""Source: Xiao, Rasul, Vollgraf: Fashion-MNIST, 2017 (MIT licence)."""

FASHION_MNIST_CLASSES = (
    "t-shirt", "trouser", "pullover", "dress", "coat",
    "sandal", "shirt", "sneaker", "bag", "ankle boot",
)  # fmt: skip

SYSTEM_FOLDERS = (Path("/usr/share/datasets"),)
"""Debian and Ubuntu: `apt install dataset-fashion-mnist`."""


def digits() -> Dataset:
    """Handwritten digits: `x[1797, 1, 8, 8]` in [0, 1].

    Source: Optical Recognition of Handwritten Digits (UCI), as scikit-learn ships it.

    Raises:
        DataError: scikit-learn is absent.
    """
    try:
        bunch = importlib.import_module("sklearn.datasets").load_digits()
    except ImportError:
        raise DataError(
            'digits: scikit-learn, which ships them, is not installed; pip install "insitu[demo]"'
        ) from None
    x = (np.asarray(bunch.images) / 16).astype(np.float32)[:, None]
    names = tuple(str(digit) for digit in range(10))
    return Dataset(name="digits", x=x, y=np.asarray(bunch.target, np.int64), classes=names)


def turned_digits() -> Shift:
    """The demo's world: digits, then the same sensor mounted a quarter turn.

    40 % of the images pretrain, 30 % adapt, 30 % test.
    """
    data = digits()
    train, adapt, test = split(data.y, (0.4, 0.3, 0.3), seed=0)
    quarter = np.ascontiguousarray(np.rot90(data.x, axes=(2, 3)))
    turned = replace(data, name="digits, a quarter turn", x=quarter)
    return Shift(
        train=data.take(train),
        test_before=data.take(test),
        adapt=turned.take(adapt),
        test_after=turned.take(test),
    )


def fashion_mnist(part: str = "train") -> Dataset:
    """Articles of clothing: `x[60000, 1, 28, 28]` ("train") or `x[10000, ...]` ("test"), in [0, 1].

    Raises:
        DataError: neither found nor downloadable, or damaged.
    """
    _check_part(part)
    stem = {"train": "train", "test": "t10k"}[part]
    pixels = _read_idx(f"{stem}-images-idx3-ubyte.gz")
    labels = _read_idx(f"{stem}-labels-idx1-ubyte.gz")
    x = (pixels.astype(np.float32) / np.float32(255))[:, None]
    return _checked("fashion_mnist", x, labels, FASHION_MNIST_CLASSES)


def cwru() -> Dataset:
    """Bearing faults: windows `x[n, 1, 512]` of acceleration in g, nine classes.

    `extra["load"]` is the motor load in horsepower, 0 to 3: a natural change of world.
    Source: Case Western Reserve University bearing data centre, 12 kHz, drive end.

    Raises:
        DataError: cwru.npz is not in INSITU_DATA, or damaged.
    """
    table = _read_npz("cwru", "cwru.npz", ("x", "y", "load", "classes"))
    extra = {"load": table["load"].astype(np.int64)}
    return _checked("cwru", table["x"], table["y"], _names(table), extra)


def kws() -> Dataset:
    """Spoken words: MFCC features `x[1000, 1, 49, 10]`, twelve classes.

    Source: Speech Commands v2, the evaluation set of MLPerf Tiny's keyword spotting.

    Raises:
        DataError: kws01.npz is not in INSITU_DATA, or damaged.
    """
    table = _read_npz("kws", "kws01.npz", ("x", "y", "classes"))
    return _checked("kws", table["x"], table["y"], _names(table))


def cifar10(part: str = "train", *, rows: Sequence[int] | slice = slice(None)) -> Dataset:
    """Photographs: `x[n, 3, 32, 32]` in [0, 255], red first, ten classes.

    Args:
        part: "train" (50,000 images) or "test" (10,000).
        rows: which images to decode; all of them take about 10 seconds.

    Source: Krizhevsky, CIFAR-10, 2009; JPEG-coded, which costs a network some accuracy.

    Raises:
        DataError: not in INSITU_DATA, damaged, or Pillow is absent.
    """
    _check_part(part)
    file = f"cifar10_{part}_jpeg.npz"
    table = _read_npz("cifar10", file, ("jpeg", "offset", "y", "classes"))
    try:
        image = importlib.import_module("PIL.Image")
    except ImportError:
        raise DataError("cifar10: Pillow is not installed; pip install pillow") from None
    chosen = np.arange(len(table["y"]))[rows]
    jpeg, offset = table["jpeg"].tobytes(), table["offset"].astype(np.int64)
    x = np.empty((len(chosen), 3, 32, 32), np.float32)
    for n, i in enumerate(chosen):
        picture = image.open(io.BytesIO(jpeg[offset[i] : offset[i + 1]])).convert("RGB")
        x[n] = np.asarray(picture).transpose(2, 0, 1)
    return _checked("cifar10", x, table["y"][chosen], _names(table))


def split(y: Array, fractions: Sequence[float], *, seed: int) -> list[Array]:
    """Indices of `y` in parts of these sizes, every class in proportion, each part shuffled.

    numpy promises that RandomState never changes its stream; the demo's network was trained on
    exactly one of these parts, so no newer generator will do.
    """
    random = np.random.RandomState(seed)
    parts: list[list[Array]] = [[] for _ in fractions]
    for label in np.unique(y):
        rows = random.permutation(np.flatnonzero(y == label))
        cuts = np.rint(np.cumsum([0.0, *fractions]) * len(rows)).astype(int)
        for part, start, stop in zip(parts, cuts[:-1], cuts[1:], strict=True):
            part.append(rows[start:stop])
    return [random.permutation(np.concatenate(part)) for part in parts]


def save(path: str | Path, data: Dataset) -> None:
    """Write DATA.npz as the command line reads it: `x` and `y`.

    Raises:
        OutputError: the folder cannot be written.
    """
    buffer = io.BytesIO()
    np.savez_compressed(buffer, x=data.x, y=data.y)
    try:
        _write_whole(Path(path), buffer.getvalue())
    except OSError as error:
        raise OutputError(
            f"{path}: cannot be written ({error.strerror}); choose another folder"
        ) from None


def cache_folder() -> Path:
    """Where downloads are kept: $XDG_CACHE_HOME/insitu, or ~/.cache/insitu."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "insitu"


def _local_folders() -> list[Path]:
    own = os.environ.get("INSITU_DATA")
    return [*([Path(own)] if own else []), *SYSTEM_FOLDERS, cache_folder()]


def _find(file: str, subfolder: str = "") -> Path | None:
    places = [p for folder in _local_folders() for p in (folder / file, folder / subfolder / file)]
    return next((place for place in places if place.is_file()), None)


def _read_npz(name: str, file: str, keys: Sequence[str]) -> dict[str, Array]:
    path = _find(file)
    if path is None:
        own = os.environ.get("INSITU_DATA")
        where = f"{file} is not in INSITU_DATA={own}" if own else "INSITU_DATA is not set"
        raise DataError(f"{name}: {where}; set INSITU_DATA to the folder that holds {file}")
    try:
        with path.open("rb") as packed, np.load(packed, allow_pickle=False) as archive:
            return {key: archive[key] for key in keys}
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise DataError(f"{path}: damaged ({error}); copy it again") from None


def _read_idx(file: str) -> Array:
    """The array in an idx.gz file, `[n, ...]` uint8.

    Source: the format's description at the foot of LeCun's MNIST page: two zero bytes, the type
    (8: unsigned byte), the rank, then each length as a big-endian 32-bit number.
    """
    remote = FASHION_MNIST[file]
    path = _find(file, "fashion-mnist") or _download(file, remote)
    try:
        raw = gzip.decompress(path.read_bytes())
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"{path}: not a gzip file ({error}); delete it") from None
    _check_sum(str(path), raw, remote.sha256)
    rank = raw[3]
    shape = np.frombuffer(raw, ">u4", rank, 4).astype(int)
    return np.frombuffer(raw, np.uint8, offset=4 + 4 * rank).reshape(shape)


def _download(file: str, remote: Remote) -> Path:
    """The path in the cache of a file fetched and found whole."""
    target = cache_folder() / "fashion-mnist" / file
    try:
        with urllib.request.urlopen(remote.url, timeout=DOWNLOAD_SECONDS) as answer:
            packed: bytes = answer.read()
        raw = gzip.decompress(packed)
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(
            f"fashion_mnist: {file} is in none of {', '.join(map(str, _local_folders()))} and "
            f"{remote.url} cannot be read ({error}); put it in a folder, set INSITU_DATA to that "
            "folder, or apt install dataset-fashion-mnist"
        ) from None
    _check_sum(remote.url, raw, remote.sha256)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        _write_whole(target, packed)
    except OSError as error:
        raise OutputError(
            f"{target}: cannot be written ({error.strerror}); set XDG_CACHE_HOME to another folder"
        ) from None
    return target


def _check_sum(where: str, raw: bytes, sha256: str) -> None:
    found = hashlib.sha256(raw).hexdigest()
    if found != sha256:
        raise DataError(f"{where}: sha256 {found[:16]}..., not {sha256[:16]}...; delete it")


def _write_whole(path: Path, content: bytes) -> None:
    """Write all of it or nothing: readers never see half a file."""
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        part.write_bytes(content)
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def _check_part(part: str) -> None:
    if part not in PARTS:
        raise DataError(f'part "{part}" does not exist; choose from: {", ".join(PARTS)}')


def _names(table: Mapping[str, Array]) -> tuple[str, ...]:
    return tuple(str(name) for name in table["classes"])


def _checked(
    name: str,
    x: Array,
    y: Array,
    classes: tuple[str, ...],
    extra: Mapping[str, Array] | None = None,
) -> Dataset:
    """The invariant of this module, checked once for every loader."""
    if len(x) != len(y):
        raise DataError(f"{name}: {len(x)} samples but {len(y)} labels; copy the file again")
    if len(y) and not 0 <= y.min() <= y.max() < len(classes):
        raise DataError(
            f"{name}: labels {y.min()} to {y.max()} but {len(classes)} classes; copy it again"
        )
    if not np.isfinite(x).all():
        raise DataError(f"{name}: {(~np.isfinite(x)).sum()} of {x.size} values are not finite")
    return Dataset(
        name=name,
        x=np.ascontiguousarray(x, np.float32),
        y=y.astype(np.int64),
        classes=classes,
        extra=dict(extra or {}),
    )
