"""Do the loaders give the same true data everywhere, and say what to do where there is none?"""

from __future__ import annotations

import gzip
import hashlib
import importlib
import os
import threading
from collections.abc import Callable, Iterator
from functools import partial
from http.server import HTTPServer, SimpleHTTPRequestHandler
from pathlib import Path

import numpy as np
import pytest

import insitu
from insitu.data import datasets
from insitu.data.datasets import Array, Dataset, Remote
from insitu.errors import DataError, InsituError, OutputError

SHARED = Path(os.environ.get("INSITU_DATA") or Path(__file__).parents[3] / "shared" / "data")

IMAGES = np.arange(3 * 28 * 28, dtype=np.uint32).astype(np.uint8).reshape(3, 28, 28)
LABELS = np.array([0, 9, 4], np.uint8)


def test_the_public_name_is_insitu_datasets() -> None:
    public = importlib.import_module("insitu.datasets")
    assert public is insitu.datasets is datasets


def idx(array: Array) -> bytes:
    lengths = b"".join(n.to_bytes(4, "big") for n in array.shape)
    return bytes([0, 0, 8, array.ndim]) + lengths + array.tobytes()


@pytest.fixture
def nowhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """No data anywhere; `tmp_path/cache` is the cache."""
    monkeypatch.delenv("INSITU_DATA", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(datasets, "SYSTEM_FOLDERS", ())
    return tmp_path


@pytest.fixture
def site(nowhere: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder served on loopback that stands for the internet: three pictures of clothing."""
    folder = nowhere / "site"
    folder.mkdir()
    handler = partial(QuietHandler, directory=str(folder))
    server = HTTPServer(("127.0.0.1", 0), handler)
    table = {}
    for name, array in (("images-idx3", IMAGES), ("labels-idx1", LABELS)):
        file, raw = f"train-{name}-ubyte.gz", idx(array)
        (folder / file).write_bytes(gzip.compress(raw))
        url = f"http://127.0.0.1:{server.server_port}/{file}"
        table[file] = Remote(url, hashlib.sha256(raw).hexdigest())
    monkeypatch.setattr(datasets, "FASHION_MNIST", table)
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield folder
    server.shutdown()
    thread.join()
    server.server_close()


class QuietHandler(SimpleHTTPRequestHandler):
    """Serves files and prints nothing."""

    def log_message(self, *_: object) -> None:
        pass


def test_digits_are_the_ones_of_scikit_learn() -> None:
    data = datasets.digits()
    assert (data.x.shape, data.x.dtype.name, data.classes[9]) == ((1797, 1, 8, 8), "float32", "9")
    assert (data.x.min(), data.x.max()) == (0, 1)
    assert np.bincount(data.y).min() == 174


def test_turned_digits_are_the_upright_ones_turned_and_no_part_meets_another() -> None:
    world = datasets.turned_digits()
    assert [len(world.train), len(world.adapt), len(world.test_after)] == [719, 539, 539]
    turned_back = np.rot90(world.test_after.x, -1, axes=(2, 3))
    np.testing.assert_array_equal(turned_back, world.test_before.x)
    rows = datasets.split(datasets.digits().y, (0.4, 0.3, 0.3), seed=0)
    assert sorted(np.concatenate(rows)) == list(range(1797))


def test_split_never_changes() -> None:
    """The demo's network was trained on part 0; another split would test on training images."""
    rows = datasets.split(datasets.digits().y, (0.4, 0.3, 0.3), seed=0)
    found = hashlib.sha256(b"".join(part.astype("<i8").tobytes() for part in rows)).hexdigest()
    assert found == "1f397e711f17e98b4a148a74a72103f0c3982eb43b584f417407e7ec255e9fe2"


def test_split_keeps_every_class_in_proportion() -> None:
    y = np.repeat([0, 1, 2], [10, 20, 30])
    first, second = datasets.split(y, (0.5, 0.5), seed=3)
    assert list(np.bincount(y[first])) == list(np.bincount(y[second])) == [5, 10, 15]


def test_fashion_mnist_is_downloaded_once_and_then_read_from_the_cache(site: Path) -> None:
    data = datasets.fashion_mnist("train")
    np.testing.assert_array_equal(data.x[:, 0], IMAGES.astype(np.float32) / np.float32(255))
    np.testing.assert_array_equal(data.y, LABELS)
    for file in site.iterdir():
        file.unlink()
    np.testing.assert_array_equal(datasets.fashion_mnist("train").x, data.x)


def test_fashion_mnist_prefers_the_folder_of_insitu_data(
    site: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = site.parent / "own"
    site.rename(own)
    site.mkdir()
    monkeypatch.setenv("INSITU_DATA", str(own))
    assert len(datasets.fashion_mnist("train")) == 3
    assert not datasets.cache_folder().exists()


def test_download_of_other_bytes_is_refused_and_not_kept(site: Path) -> None:
    (site / "train-images-idx3-ubyte.gz").write_bytes(gzip.compress(idx(IMAGES + 1)))
    with pytest.raises(DataError, match=r"^http://127.*sha256 \w{16}\.\.\., not \w{16}"):
        datasets.fashion_mnist("train")
    assert not datasets.cache_folder().exists()


def test_download_cut_short_is_refused_and_not_kept(site: Path) -> None:
    whole = (site / "train-images-idx3-ubyte.gz").read_bytes()
    (site / "train-images-idx3-ubyte.gz").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(DataError, match="cannot be read"):
        datasets.fashion_mnist("train")
    assert not datasets.cache_folder().exists()


def test_download_to_an_unwritable_cache_says_so(
    site: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (site.parent / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(site.parent / "file"))
    with pytest.raises(OutputError, match=r"cannot be written .* XDG_CACHE_HOME"):
        datasets.fashion_mnist("train")


def test_damaged_local_copy_is_named(site: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = site / "train-images-idx3-ubyte.gz"
    path.write_bytes(b"not a gzip file")
    monkeypatch.setenv("INSITU_DATA", str(site))
    with pytest.raises(DataError, match=f"^{path}: not a gzip file"):
        datasets.fashion_mnist("train")


WITHOUT: dict[str, tuple[Callable[[], Dataset], str]] = {
    "fashion-mnist": (datasets.fashion_mnist, "set INSITU_DATA.* or apt install"),
    "cwru": (datasets.cwru, "set INSITU_DATA to the folder that holds cwru.npz"),
    "kws": (datasets.kws, "set INSITU_DATA to the folder that holds kws01.npz"),
    "cifar10": (datasets.cifar10, "set INSITU_DATA to the folder that holds cifar10_train"),
    "part": (partial(datasets.fashion_mnist, "valid"), 'part "valid".*train, test'),
}


@pytest.mark.parametrize("case", WITHOUT)
def test_absent_data_says_how_to_get_it_in_one_line(
    case: str, nowhere: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    absent = (nowhere / "absent.gz").as_uri()
    table = {file: Remote(absent, "0" * 64) for file in datasets.FASHION_MNIST}
    monkeypatch.setattr(datasets, "FASHION_MNIST", table)
    load, way_out = WITHOUT[case]
    with pytest.raises(InsituError, match=way_out) as caught:
        load()
    assert "\n" not in str(caught.value)


X = np.zeros((4, 1, 512), np.float32)
Y = np.array([0, 1, 0, 1], np.uint8)

DAMAGED: dict[str, tuple[dict[str, Array], str]] = {
    "key": ({"x": X}, "damaged"),
    "length": ({"x": X[:3]}, "3 samples but 4 labels"),
    "label": ({"y": Y + 1}, "labels 1 to 2 but 2 classes"),
    "nan": ({"x": X + np.nan}, "2048 of 2048 values are not finite"),
}


@pytest.mark.parametrize("case", DAMAGED)
def test_damaged_archive_is_refused(
    case: str, nowhere: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    change, message = DAMAGED[case]
    table: dict[str, Array] = {"x": X, "y": Y, "load": Y, "classes": np.array(["a", "b"]), **change}
    if case == "key":
        del table["load"]
    np.savez(nowhere / "cwru.npz", allow_pickle=False, **table)
    monkeypatch.setenv("INSITU_DATA", str(nowhere))
    with pytest.raises(DataError, match=message):
        datasets.cwru()


def test_archive_cut_short_is_refused(nowhere: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (nowhere / "cwru.npz").write_bytes(b"PK\x03\x04 and no more")
    monkeypatch.setenv("INSITU_DATA", str(nowhere))
    with pytest.raises(DataError, match="damaged"):
        datasets.cwru()


REAL: dict[str, tuple[str, Callable[[], Dataset], tuple[int, ...]]] = {
    "cwru": ("cwru.npz", datasets.cwru, (8558, 1, 512)),
    "kws": ("kws01.npz", datasets.kws, (1000, 1, 49, 10)),
    "cifar10": (
        "cifar10_test_jpeg.npz",
        partial(datasets.cifar10, "test", rows=slice(0, None, 500)),
        (20, 3, 32, 32),
    ),
}


@pytest.mark.parametrize("case", REAL)
def test_real_archive_has_its_shape(case: str, monkeypatch: pytest.MonkeyPatch) -> None:
    file, load, shape = REAL[case]
    if not (SHARED / file).is_file():
        pytest.skip(f"{file} is not here; set INSITU_DATA to the folder that holds it")
    if case == "cifar10":
        pytest.importorskip("PIL", reason="Pillow, which decodes CIFAR-10, is not installed")
    monkeypatch.setenv("INSITU_DATA", str(SHARED))
    data = load()
    assert (data.x.shape, data.x.dtype.name, len(data)) == (shape, "float32", shape[0])
    assert set(np.unique(data.y)) == set(range(len(data.classes)))


@pytest.mark.parametrize(("part", "length"), [("train", 60_000), ("test", 10_000)])
def test_real_fashion_mnist_has_its_checksum(
    part: str, length: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    for file, remote in list(datasets.FASHION_MNIST.items()):  # a test downloads nothing
        monkeypatch.setitem(datasets.FASHION_MNIST, file, Remote("file:///absent", remote.sha256))
    try:
        data = datasets.fashion_mnist(part)
    except DataError as error:
        pytest.skip(str(error))
    assert data.x.shape == (length, 1, 28, 28)
    assert list(np.bincount(data.y)) == [length // 10] * 10


def test_saved_data_reads_back_and_take_keeps_samples_together(tmp_path: Path) -> None:
    data = datasets.digits().take(np.array([3, 1]))
    datasets.save(tmp_path / "data.npz", data)
    with np.load(tmp_path / "data.npz") as archive:
        np.testing.assert_array_equal(archive["x"], data.x)
        assert list(archive["y"]) == [3, 1]
    assert [path.name for path in tmp_path.iterdir()] == ["data.npz"]


def test_saving_to_a_missing_folder_says_so(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="cannot be written"):
        datasets.save(tmp_path / "absent" / "data.npz", datasets.digits())


def test_demo_network_reads_upright_digits_and_not_turned_ones() -> None:
    runtime = pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")
    path = Path(datasets.__file__).parents[1] / "app" / "demo_data" / "digits_cnn.onnx"
    assert path.stat().st_size < 100_000
    session = runtime.InferenceSession(path.read_bytes(), providers=["CPUExecutionProvider"])
    world = datasets.turned_digits()

    def accuracy(data: Dataset) -> float:
        logits = session.run(None, {"image": data.x})[0]
        return float((logits.argmax(1) == data.y).mean() * 100)

    assert accuracy(world.test_before) > 97.5
    assert accuracy(world.test_after) < 20
