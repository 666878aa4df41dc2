"""Decoding by another decoder: the CPU's own stands for the GPU's, so that the views must be the loader's."""

import numpy as np
import pytest
import torch
from albums import an_album, jpeg, pages, photograph
from images import encoded
from torchvision.io import ImageReadMode, decode_jpeg

from bench import ondevice
from bench.loader import Views, collate

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
    found = ondevice.batch_of(ondevice.as_read([files[item] for item in ITEMS]), made, decoder)
    assert same(found, collate([made[item] for item in ITEMS]))
    assert found[1].tolist() == [4, 0, 0] and [number for number, _ in found[2]] == [3, 5]


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_a_gpus_decoder_is_close_to_the_cpus(tmp_path):
    made = Views(an_album(tmp_path).train, np.arange(20), 32)
    files = ondevice.Files(made)
    found = ondevice.batch_of([files[item] for item in ITEMS], made, ondevice.gpu_decoder(torch.device("cuda")))
    expected = collate([made[item] for item in ITEMS])
    assert found[0].device.type == "cuda" and found[1].tolist() == expected[1].tolist()
    assert (found[0].cpu().int() - expected[0].int()).abs().float().mean() < 2
