"""Cuts against torchvision's, and by counting pixels."""

import torch
import torchvision
from pagesof import image

from bench import cuts, views


def test_a_window_is_where_it_was_asked_for():
    pixels = image(50, 61)
    (window,) = cuts.window(pixels, 40, 0.25, 0.75, crop=32)
    scaled = views.scaled(pixels, 40)
    top, left = int(0.25 * (scaled.shape[1] - 31)), int(0.75 * (scaled.shape[2] - 31))
    assert torch.equal(window, scaled[None, :, top : top + 32, left : left + 32])


def test_a_single_cut_is_the_view_of_plain_tests():
    (single,) = cuts.single(image(50, 61), crop=32)
    assert torch.equal(single, views.single(image(50, 61), 32)[None])


def test_ten_crops_are_torchvisions():
    pixels = image(37, 61)
    (ten,) = cuts.ten(pixels, crop=32)
    scaled = torchvision.transforms.v2.Resize(37)(pixels)
    assert torch.equal(ten, torch.stack(torchvision.transforms.v2.TenCrop(32)(scaled)))
    corners = {(0, 0): 0, (0, 29): 1, (5, 0): 2, (5, 29): 3}
    for (top, left), number in corners.items():
        assert torch.equal(ten[number], pixels[:, top : top + 32, left : left + 32])


def test_whole_images_and_their_mirrors_are_cut_nowhere():
    pixels = image(40, 53)
    found = cuts.whole(pixels, crop=40)
    assert [min(piece.shape[2:]) for piece in found] == [40, 46, 69, 86, 114]
    assert torch.equal(found[0], torch.stack([pixels, pixels.flip(2)]))


def test_the_papers_sides_and_others_in_proportion():
    assert cuts.sides(224) == (224, 256, 384, 480, 640)
    assert cuts.sides(112) == (112, 128, 192, 240, 320) and cuts.sides(32) == (32, 37, 55, 69, 91)
