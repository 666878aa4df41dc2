"""Decoding by another decoder: the CPU's own stands for the GPU's, so that the views must be the loader's."""

import contextlib
import resource
from dataclasses import replace

import numpy as np
import pytest
import torch
from albums import an_album, jpeg, pages, photograph
from images import encoded
from torchvision.io import ImageReadMode, decode_jpeg

from bench import ondevice
from bench.cell import Recipe
from bench.errors import DeviceError
from bench.loader import Views, collate
from bench.pixels import statistics
from bench.stream import Loading, Stream

ITEMS = [(3, 40, 0.2, 0.7), (0, 0, 0.0, 0.0), (5, 45, 0.9, 0.1)]


def decoder(files):
    """Refuses what is no JPEG, as a GPU's does, and all with it."""
    return decode_jpeg(files, mode=ImageReadMode.RGB)


def same(first, second):
    return (first[0] == second[0]).all() and first[1].tolist() == second[1].tolist() and first[2] == second[2]


def test_views_are_those_of_the_loader(tmp_path):
    made = Views(an_album(tmp_path).train, np.arange(20), 32)
    files = ondevice.Files(made)
    read = ondevice.as_read([files[item] for item in ITEMS])
    assert same(ondevice.batch_of(read, made, decoder), collate([made[item] for item in ITEMS]))


def test_what_it_cannot_decode_goes_the_loaders_way(tmp_path):
    contents = [jpeg(photograph(number)) for number in range(6)]
    contents[0], contents[3] = encoded(np.asarray(photograph(0))), b"damaged"
    part = pages(tmp_path, contents, range(6))
    (tmp_path / "00005.JPEG").unlink()
    made = Views(part, np.arange(6), 32)
    files = ondevice.Files(made)
    read = ondevice.as_read([files[item] for item in ITEMS])
    assert read[1][2] == 0
    found = ondevice.batch_of(read, made, decoder)
    assert same(found, collate([made[item] for item in ITEMS]))
    assert found[1].tolist() == [4, 0, 0] and [number for number, _ in found[2]] == [3, 5]


def test_batches_being_read_are_not_an_open_file_an_image(tmp_path):
    """A limit on open files that a few batches would pass, were each of their images a tensor."""
    made = Views(an_album(tmp_path).train, np.arange(20), 32)
    few, many = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(256, few), many))
    try:
        batches = torch.utils.data.DataLoader(
            ondevice.Files(made),
            batch_sampler=[[(number % 20, 0, 0.0, 0.0) for number in range(300)]] * 3,
            collate_fn=ondevice.as_read,
            num_workers=1,
            multiprocessing_context="fork",
        )
        read = list(batches)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (few, many))
    assert [len(lengths) for _, lengths, _ in read] == [300] * 3
    assert bytes(read[2][0].split(read[2][1])[41].numpy()) == made.pages.read(1)


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


def test_files_are_decoded_beside_the_training_which_comes_after(tmp_path, said):
    """nvJPEG heeds no stream: what is queued where its memory comes from is done before it writes."""
    made = Views(an_album(tmp_path).train, np.arange(20), 32)
    files = ondevice.Files(made)
    read = [ondevice.as_read([files[item]]) for item in ITEMS]
    found = list(ondevice.Darkroom(torch.device("cuda")).batches(read, made))
    assert said == ["own waited for", "decoded on own", "training after own"] * 3
    assert all(same(batch, collate([made[item]])) for batch, item in zip(found, ITEMS, strict=True))


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
def test_a_gpus_decoder_is_close_to_the_cpus(tmp_path):
    made = Views(an_album(tmp_path).train, np.arange(20), 32)
    files = ondevice.Files(made)
    read = ondevice.as_read([files[item] for item in ITEMS])
    found = ondevice.batch_of(read, made, ondevice.gpu_decoder(torch.device("cuda")))
    expected = collate([made[item] for item in ITEMS])
    assert found[0].device.type == "cuda" and found[1].tolist() == expected[1].tolist()
    assert (found[0].cpu().int() - expected[0].int()).abs().float().mean() < 2


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_a_gpu_that_lags_behind_gets_the_same_views(tmp_path):
    """With work before them on the training's stream, and with none: memory is not used before it is done with."""
    made = Views(an_album(tmp_path).train, np.arange(20), 32)
    files, room = ondevice.Files(made), ondevice.Darkroom(torch.device("cuda"))
    read = [ondevice.as_read([files[(number, 40, 0.5, 0.5)] for number in range(20)][::step]) for step in (1, -1) * 8]
    seen = []
    for lag in (0, 10**7):
        with torch.cuda.stream(torch.cuda.Stream()):
            copies = []
            for shown, _, _ in room.batches(read, made):
                torch.cuda._sleep(lag)
                copies.append(shown.clone())
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
