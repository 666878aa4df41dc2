"""Decoding by another decoder: the CPU's own stands for the GPU's, so that the views must be the loader's."""

import contextlib
import resource
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch
from albums import an_album, jpeg, pages, photograph
from images import encoded
from limits import limited
from torchvision.io import ImageReadMode, decode_jpeg

from bench import cuts, loader, ondevice
from bench.cell import Recipe
from bench.errors import DeviceError
from bench.loader import Batch, Images
from bench.loading import Loading
from bench.ondevice import Files, as_read, batch_of
from bench.pixels import statistics
from bench.stream import Stream

WINDOW, SINGLE = partial(cuts.window, crop=32), partial(cuts.single, crop=32)
ITEMS = [(3, 40, 0.2, 0.7), (0, 37, 0.0, 0.0), (5, 45, 0.9, 0.1)]


def decoder(files):
    """Refuses what is no JPEG, as a GPU's does, and all with it."""
    return decode_jpeg(files, mode=ImageReadMode.RGB)


def same(first, second):
    return torch.equal(first.pixels.cpu(), second.pixels) and all(
        getattr(first, name) == getattr(second, name) for name in ("shapes", "labels", "bad")
    )


def read_of(part, items):
    files = Files(part)
    return as_read([files[item] for item in items])


@pytest.fixture(scope="module")
def part(tmp_path_factory):
    return an_album(tmp_path_factory.mktemp("album")).train


@pytest.mark.parametrize(
    ("cut", "items"),
    [(WINDOW, ITEMS), (SINGLE, [(4,), (9,)]), (partial(cuts.whole, crop=16), [(0,), (1,)]), (WINDOW, [])],
    ids=["window", "single", "whole", "nothing"],
)
def test_its_cuts_are_those_of_the_processes(part, cut, items):
    made = Images(part, cut)
    assert same(batch_of(read_of(part, items), made, decoder), Batch.of([made[item] for item in items]))


@pytest.mark.parametrize("instead", [np.arange(6), None], ids=["another", "none"])
def test_what_it_cannot_decode_goes_the_way_of_the_processes(tmp_path, instead):
    contents = [jpeg(photograph(number)) for number in range(6)]
    contents[0], contents[3] = encoded(np.asarray(photograph(0))), b"damaged"
    part = pages(tmp_path, contents, range(6))
    (tmp_path / "00005.JPEG").unlink()
    made, read = Images(part, WINDOW, instead), read_of(part, ITEMS)
    assert read[1][2] == 0
    found = batch_of(read, made, decoder)
    assert same(found, Batch.of([made[item] for item in ITEMS]))
    assert found.labels == ([0] if instead is None else [4, 0, 0])
    assert [number for number, _ in found.bad] == [3, 5] and "No such file" in found.bad[1][1]


def test_batches_being_read_are_not_an_open_file_an_image(part):
    """A limit on open files that a few batches would pass, were each of their images a tensor."""
    asked = [[(number % 20,) for number in range(300)]] * 3
    with limited(resource.RLIMIT_NOFILE, 256):
        read = list(loader.processes(Files(part), asked, as_read, loaders=1, ahead=2))
    assert [len(lengths) for _, lengths, _ in read] == [300] * 3
    assert bytes(read[2][0].split(read[2][1])[41].numpy()) == part.read(1)


class Scripted:
    """A stream that writes down what it is asked."""

    def __init__(self, name, said):
        self.name, self.said = name, said

    def synchronize(self):
        self.said.append(f"{self.name} waited for")

    def wait_stream(self, other):
        self.said.append(f"{self.name} after {other.name}")


@pytest.fixture
def said(monkeypatch):
    """Scripted streams, and a decoder for a GPU's: what was asked of them."""
    said = []
    streams = [Scripted("training", said)]

    @contextlib.contextmanager
    def within(stream):
        streams.append(stream)
        yield
        streams.pop()

    def decode(files):
        said.append(f"decoded on {streams[-1].name}")
        return decoder(files)

    monkeypatch.setattr(torch.cuda, "Stream", lambda _: Scripted("own", said))
    monkeypatch.setattr(torch.cuda, "stream", within)
    monkeypatch.setattr(torch.cuda, "current_stream", lambda _: streams[-1])
    monkeypatch.setattr(ondevice, "gpu_decoder", lambda _: decode)
    return said


def test_files_are_decoded_beside_the_training_which_comes_after(part, said):
    """nvJPEG heeds no stream: what is queued where its memory comes from is done before it writes."""
    made = Images(part, WINDOW)
    found = list(ondevice.reader("gpu", torch.device("cuda"))(made, [[item] for item in ITEMS]))
    assert said == ["own waited for", "decoded on own", "training after own"] * 3
    assert all(same(batch, Batch.of([made[item]])) for batch, item in zip(found, ITEMS, strict=True))


@pytest.mark.usefixtures("said")
@pytest.mark.parametrize("loaders", [0, 2])
def test_a_stream_of_views_decoded_there_is_that_decoded_here(tmp_path, monkeypatch, loaders):
    monkeypatch.setenv("RESBENCH_CACHE", str(tmp_path / "cache"))
    album = an_album(tmp_path / "album")
    recipe = Recipe(
        iterations=8, drops=(), eval_every=8, batch=6, crop_size=32, scale=(36, 48), crop_padding=0, colour="own"
    )
    here = Stream(album, recipe, 3)
    there = Stream(album, replace(recipe, decoding="gpu"), 3, loading=Loading(loaders))
    assert (statistics(album, recipe).mean == there.mean[0].numpy()).all()
    for iteration in range(5):
        assert all((a == b).all() for a, b in zip(here.at(iteration), there.at(iteration), strict=True))
    for stream in (here, there):
        stream.begin("test", 6, 6)
        stream.fetch()
    mine, theirs = here.evaluation_batch("test", 6), there.evaluation_batch("test", 6)
    assert all((a == b).all() for a, b in zip(mine, theirs, strict=True))


@pytest.mark.skipif(torch.cuda.is_available(), reason="of machines without a CUDA device")
def test_a_device_that_cannot_decode_is_told_of_at_once():
    says = r'^decoding = "gpu": torchvision cannot decode a JPEG on cuda:0: .'
    with pytest.raises(DeviceError, match=says) as raised:
        ondevice.gpu_decoder(torch.device("cuda:0"))
    assert "\n" not in str(raised.value)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("loaders", [0, 2])
@pytest.mark.parametrize("cut", ["ten", "whole"])
def test_a_gpus_decoder_is_close_to_the_cpus(part, cut, loaders):
    images = Images(part, partial(getattr(cuts, cut), crop=32))
    asked = [[(number,) for number in range(first, first + 5)] for first in (0, 5)]
    on_gpu = list(ondevice.reader("gpu", torch.device("cuda"))(images, iter(asked), loaders=loaders))
    on_cpu = list(ondevice.reader("cpu", torch.device("cpu"))(images, iter(asked)))
    for mine, theirs in zip(on_gpu, on_cpu, strict=True):
        assert mine.pixels.device.type == "cuda" and (mine.labels, mine.shapes) == (theirs.labels, theirs.shapes)
        assert (mine.pixels.cpu().int() - theirs.pixels.int()).abs().float().mean() < 2


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_a_gpu_that_lags_behind_gets_the_same_views(part):
    """With work before them on the training's stream, and with none: memory is not used before it is done with."""
    made, read = Images(part, SINGLE), ondevice.reader("gpu", torch.device("cuda"))
    asked = [[(number,) for number in range(20)][::step] for step in (1, -1) * 8]
    seen = []
    for lag in (0, 10**7):
        with torch.cuda.stream(torch.cuda.Stream()):
            copies = []
            for batch in read(made, asked):
                torch.cuda._sleep(lag)
                copies.append(batch.pixels.clone())
            seen.append(torch.stack(copies).cpu())
    assert (seen[0] == seen[1]).all()


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_a_gpu_refuses_a_file_that_is_cut_short():
    """Or it would train on half an image and name none."""
    decode = ondevice.gpu_decoder(torch.device("cuda"))
    whole = jpeg(photograph(0, (400, 300)))
    for part in (whole[:250], whole[: len(whole) // 2]):
        with pytest.raises(RuntimeError):
            decode([torch.frombuffer(bytearray(part), dtype=torch.uint8)])
