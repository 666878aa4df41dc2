"""Digits against scikit-learn; noise; a tiny CIFAR, served from this machine and downloaded through torchvision."""

import functools
import http.server
import io
import pickle
import socket
import tarfile
import threading
from hashlib import md5

import numpy as np
import pytest
from sklearn.datasets import load_digits
from torchvision import datasets

from bench.builtin import datasets_directory, download
from bench.dataset import load
from bench.errors import DataError, FieldError
from bench.host import cache_directory
from bench.source import NOISE, SHAPES, Source

DIGITS_SHA256 = "3da718e48cac3aa96eb76be333ec9276f89a374706d8189265d4a0e9f700a394"

pytestmark = pytest.mark.usefixtures("fresh_cache")


# ---- digits ----


def test_digits_are_scikit_learns_each_once():
    data = load(Source.parse("digits"))
    truth = load_digits()
    images = np.concatenate([data.train_images, data.test_images])
    labels = np.concatenate([data.train_labels, data.test_labels])
    assert (data.train_images.shape, data.test_images.shape) == ((1497, 1, 8, 8), (300, 1, 8, 8))
    assert images.dtype == np.uint8 and labels.dtype == np.int64
    rows = zip(truth.images, truth.target, strict=True)
    expected = [[*(round(v * 255 / 16) for v in image.ravel()), label] for image, label in rows]
    found = np.column_stack([images.reshape(1797, 64), labels]).tolist()
    assert sorted(found) == sorted(expected)
    assert images.min() == 0 and images.max() == 255


def test_digits_split_is_stratified_and_fixed_for_good():
    data = load(Source.parse("digits"))
    members = np.bincount(load_digits().target)
    assert np.all(np.abs(np.bincount(data.test_labels) - members * 300 / 1797) < 1)
    assert data.sha256 == DIGITS_SHA256
    assert data.holdout == 300
    assert data.shape == SHAPES["digits"]
    assert (data.channels, data.size, data.classes) == (1, (8, 8), 10)
    assert data.class_names == tuple("0123456789")


# ---- noise ----

NOISE_SHA256 = {
    "noise32": "02595f84523a42f227168160886a59dccb61bd551a47d383cc87dd6b5743e86d",
    "noise224": "638aaaef199e8d20199d68c760fdb8e17394ec18a9bba3d8cd10fceb1e9d2c80",
}


@pytest.mark.parametrize("name", NOISE)
def test_noise_is_the_same_for_good_and_of_the_shape_it_stands_for(name):
    data = load(Source.parse(name))
    assert data.shape == SHAPES[name] == {"noise32": (3, 32, 10), "noise224": (3, 224, 1000)}[name]
    assert data.sha256 == NOISE_SHA256[name]
    assert sum(array.nbytes for array in (data.train_images, data.test_images)) < 50e6
    assert len(data.train_images) == len(data.train_labels) >= 256  # a batch of the paper's
    assert len(data.test_images) == len(data.test_labels) == (len(data.train_labels) + len(data.test_labels)) // 10
    assert data.train_images.dtype == np.uint8 and data.train_labels.dtype == np.int64


@pytest.mark.parametrize("name", NOISE)
def test_noise_is_even_and_no_image_is_there_twice(name):
    """Within 6 standard errors of what is expected, in 2 · 10**6 pixels and in all labels."""
    data = load(Source.parse(name))
    pixels = data.train_images.reshape(-1)[: 2 * 10**6]
    for counts in (np.bincount(pixels, minlength=256), np.bincount(data.train_labels, minlength=data.classes)):
        expected = counts.sum() / len(counts)
        assert np.abs(counts - expected).max() <= 6 * np.sqrt(expected) + 1
    assert len({image.tobytes() for image in (*data.train_images[:200], *data.test_images)}) == 200 + len(
        data.test_labels
    )


# ---- CIFAR ----


@pytest.mark.parametrize(
    ("variables", "expected"),
    [
        ({"RESBENCH_CACHE": "/a", "XDG_CACHE_HOME": "/b"}, "/a"),
        ({"RESBENCH_CACHE": "", "XDG_CACHE_HOME": "/b"}, "/b/resbench"),
        ({"XDG_CACHE_HOME": "", "HOME": "/c"}, "/c/.cache/resbench"),
    ],
)
def test_downloads_are_kept_in_the_cache_directory(monkeypatch, variables, expected):
    for name in ("RESBENCH_CACHE", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert str(cache_directory()) == expected
    assert str(datasets_directory()) == f"{expected}/datasets"


class OldPickle:
    """Warns when it is unpickled, as CIFAR's files do under NumPy 2.4.0 to 2.4.4."""

    def __reduce__(self):
        return np.dtype, ("u1", 0, 1)


@functools.cache
def tiny_cifar(kind, images=50):
    """(files, the same pickled, their archive) of a tiny CIFAR, files by name: rows of 3,072, red plane first."""
    rng = np.random.default_rng(3)
    data = getattr(datasets, kind.upper())
    label, classes = ("labels", 10) if kind == "cifar10" else ("fine_labels", 100)
    files = {}
    for name, _ in [*data.train_list, *data.test_list]:
        rows = rng.integers(0, 256, (images, 3072), dtype=np.uint8)
        files[name] = {"data": rows, label: rng.integers(0, classes, images).tolist(), "old": OldPickle()}
    files[data.meta["filename"]] = {data.meta["key"]: [f"class {i}" for i in range(classes)]}
    packed = {name: pickle.dumps(content, protocol=2) for name, content in files.items()}
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w:gz") as tar:
        for name, content in packed.items():
            member = tarfile.TarInfo(f"{data.base_folder}/{name}")
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return files, packed, archive.getvalue()


@pytest.fixture(params=["cifar10", "cifar100"])
def cifar(request, monkeypatch, tmp_path):
    """(source, its files' contents, its archive) of a tiny CIFAR whose checksums torchvision is told to expect."""
    files, packed, content = tiny_cifar(request.param)
    data = getattr(datasets, request.param.upper())

    def summed(listed):
        return [[name, md5(packed[name]).hexdigest()] for name, _ in listed]

    archive = tmp_path / "served" / data.filename
    archive.parent.mkdir()
    archive.write_bytes(content)
    monkeypatch.setattr(data, "train_list", summed(data.train_list))
    monkeypatch.setattr(data, "test_list", summed(data.test_list))
    monkeypatch.setattr(data, "meta", data.meta | {"md5": md5(packed[data.meta["filename"]]).hexdigest()})
    monkeypatch.setattr(data, "tgz_md5", md5(content).hexdigest())
    monkeypatch.setattr(data, "url", f"http://127.0.0.1:{closed_port()}/{data.filename}")
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    return Source.parse(request.param), files, archive


def closed_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@pytest.fixture
def serve(monkeypatch, cifar):
    """Serve bytes from the data's address; `cut` ends the connection before so many bytes are sent."""
    servers = []

    def start(content, cut=0):
        class Handler(http.server.BaseHTTPRequestHandler):
            def do_HEAD(self):
                self.send_response(200)
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()

            def do_GET(self):
                self.do_HEAD()
                self.wfile.write(content[: len(content) - cut])

            def log_message(self, *_):
                pass

        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        servers.append(server)
        data = getattr(datasets, cifar[0].kind.upper())
        monkeypatch.setattr(data, "url", f"http://127.0.0.1:{server.server_port}/{data.filename}")

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


def check_cifar(source, files):
    data = load(source)
    kind = getattr(datasets, source.kind.upper())
    for part, listed in (("train", kind.train_list), ("test", kind.test_list)):
        images, labels = data.arrays[f"{part}_images"], data.arrays[f"{part}_labels"]
        rows = np.concatenate([files[name]["data"] for name, _ in listed])
        assert images.shape == (len(rows), 3, 32, 32)
        for n, c, y, x in np.random.default_rng(0).integers(0, (len(rows), 3, 32, 32), (500, 4)):
            assert images[n, c, y, x] == rows[n, 1024 * c + 32 * y + x]
        numbers = [files[name].get("labels") or files[name]["fine_labels"] for name, _ in listed]
        assert labels.tolist() == np.concatenate(numbers).tolist()
    assert data.shape == SHAPES[source.kind]
    assert data.class_names == tuple(f"class {i}" for i in range(data.classes))
    assert data.holdout == len(data.train_labels) // 10


def test_cifar_is_never_downloaded_by_load(cifar, serve):
    source, _, archive = cifar
    serve(archive.read_bytes())
    with pytest.raises(DataError, match=f"{source}: absent from .+; run `resbench data {source}`"):
        load(source)


def test_cifar_is_read_from_torchvisions_layout(cifar):
    source, files, archive = cifar
    with tarfile.open(archive) as tar:
        tar.extractall(datasets_directory(), filter="data")
    check_cifar(source, files)


def test_damaged_cifar_is_not_read(cifar):
    source, _, archive = cifar
    with tarfile.open(archive) as tar:
        tar.extractall(datasets_directory(), filter="data")
    name = getattr(datasets, source.kind.upper()).test_list[0][0]
    path = next(datasets_directory().glob(f"*/{name}"))
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(DataError, match="damaged; run `resbench data"):
        load(source)


def test_a_download_is_verified_unpacked_and_loaded(cifar, serve, capfd):
    source, files, archive = cifar
    serve(archive.read_bytes())
    folder = download(source, progress=False)
    assert capfd.readouterr() == ("", "")
    assert folder.is_dir() and list(datasets_directory().iterdir()) == [folder]
    check_cifar(source, files)


def test_a_download_shows_its_progress(cifar, serve, capfd):
    source, _, archive = cifar
    serve(archive.read_bytes())
    download(source)
    out, err = capfd.readouterr()
    assert "100" in err and not out


def test_data_that_is_there_is_not_downloaded_again(cifar, serve):
    source, files, archive = cifar
    serve(archive.read_bytes())
    folder = download(source)
    kind = getattr(datasets, source.kind.upper())
    kind.url = f"http://127.0.0.1:{closed_port()}/"  # put back by monkeypatch
    assert download(source) == folder
    check_cifar(source, files)


def test_damaged_data_is_replaced_by_a_download(cifar, serve):
    source, files, archive = cifar
    serve(archive.read_bytes())
    folder = download(source)
    next(folder.iterdir()).write_bytes(b"damaged")
    download(source)
    check_cifar(source, files)


def test_no_network(cifar):
    source, _, archive = cifar
    with pytest.raises(DataError) as caught:
        download(source)
    message = str(caught.value)
    assert f"cannot be downloaded into {datasets_directory()}" in message
    assert f"without a network, put {archive.name} into {datasets_directory()}" in message
    assert caught.value.__cause__ is None and caught.value.__suppress_context__
    assert list(datasets_directory().iterdir()) == []
    assert socket.getdefaulttimeout() is None


@pytest.mark.parametrize("damage", ["cut short", "other bytes"])
def test_a_failed_download_leaves_nothing_behind(cifar, serve, damage):
    source, files, archive = cifar
    content = archive.read_bytes()
    serve(content, cut=100) if damage == "cut short" else serve(content[:-100] + bytes(100))
    with pytest.raises(
        DataError, match=r"127\.0\.0\.1.+: what arrived is incomplete or of a wrong checksum; try again"
    ):
        download(source)
    assert list(datasets_directory().iterdir()) == []
    serve(content)
    download(source)
    check_cifar(source, files)


def test_an_archive_put_there_by_hand_needs_no_network(cifar):
    source, files, archive = cifar
    datasets_directory().mkdir(parents=True)
    placed = datasets_directory() / archive.name
    placed.write_bytes(archive.read_bytes()[:-1])
    with pytest.raises(DataError, match="without a network"):
        download(source)
    placed.write_bytes(archive.read_bytes())
    download(source)
    assert placed.read_bytes() == archive.read_bytes()
    check_cifar(source, files)


def test_a_damaged_archive_put_there_by_hand_is_left_alone(cifar, serve):
    source, files, archive = cifar
    datasets_directory().mkdir(parents=True)
    placed = datasets_directory() / archive.name
    placed.write_bytes(b"damaged")
    serve(archive.read_bytes())
    download(source)
    assert placed.read_bytes() == b"damaged"
    check_cifar(source, files)


def test_a_place_that_cannot_be_written_is_named(cifar, monkeypatch, tmp_path):
    (tmp_path / "file").write_text("not a folder")
    monkeypatch.setenv("RESBENCH_CACHE", str(tmp_path / "file"))
    with pytest.raises(DataError, match=r"cannot be downloaded into .+file"):
        download(cifar[0])


@pytest.mark.parametrize("text", ["digits", "parquet:x"])
def test_only_cifar_is_downloaded(text):
    with pytest.raises(FieldError, match="allowed: cifar10 or cifar100"):
        download(Source.parse(text))
