"""Views against PIL, and by counting pixels."""

import io

import numpy as np
import pytest
import torch
from albums import jpeg, photograph
from hypothesis import given
from hypothesis import strategies as st
from images import encoded, pictures
from PIL import Image

from bench import views

SIDES = st.integers(1, 60)


def as_pil(image):
    return np.asarray(image).transpose(2, 0, 1)


def test_decoding_is_exact_where_the_format_is():
    picture = pictures(1, side=9)[0]
    for data in (encoded(picture), encoded(picture, "BMP")):
        assert (views.decode(data).numpy() == picture.transpose(2, 0, 1)).all()


def test_grey_four_colours_and_transparency_become_rgb():
    grey = pictures(1, side=9, channels=1)[0]
    assert (views.decode(encoded(grey)).numpy() == grey).all()
    clear = Image.fromarray(pictures(1, side=9)[0]).copy()
    clear.putalpha(7)
    assert (views.decode(encoded(np.asarray(clear))).numpy() == pictures(1, side=9)[0].transpose(2, 0, 1)).all()
    four = photograph(3).convert("CMYK")
    assert views.decode(jpeg(four)).shape == (3, four.height, four.width)


@pytest.mark.parametrize("data", [b"", b"no image", jpeg(photograph(1))[:300], jpeg(photograph(1))[:-200]])
def test_what_is_no_image_or_cut_short_is_an_error(data):
    with pytest.raises(RuntimeError):
        views.decode(data)


@pytest.mark.parametrize("side", [16, 40, 57])
def test_scaling_is_that_of_pil(side):
    picture = photograph(3, (61, 40))
    found = views.scaled(torch.tensor(as_pil(picture)), side)
    width = int(61 * side / 40)
    expected = as_pil(picture.resize((width, side), Image.Resampling.BILINEAR)).astype(int)
    assert found.shape == (3, side, width)
    assert abs(found.numpy() - expected).max() <= 1


@given(SIDES, SIDES, st.integers(1, 60), st.floats(0, 1, exclude_max=True), st.floats(0, 1, exclude_max=True))
def test_windows_lie_within_and_reach_every_corner(height, width, crop, down, right):
    crop = min(crop, height, width)
    image = torch.arange(height * width, dtype=torch.int64).reshape(1, height, width).expand(3, -1, -1)
    window = views.cut(image, crop, down, right)
    top, left = divmod(int(window[0, 0, 0]), width)
    assert (window == image[:, top : top + crop, left : left + crop]).all() and window.shape == (3, crop, crop)
    assert top == int(down * (height - crop + 1)) and left == int(right * (width - crop + 1))
    last = views.cut(image, crop, 1 - 2**-53, 1 - 2**-53)
    assert int(last[0, -1, -1]) == height * width - 1


def test_the_single_view_is_the_centre_where_the_shorter_side_is_256():
    assert views.test_side(224) == 256
    picture = photograph(4, (300, 200))
    found = views.single(torch.tensor(as_pil(picture)), 224).numpy()
    scaled = as_pil(picture.resize((384, 256), Image.Resampling.BILINEAR)).astype(int)
    assert abs(found - scaled[:, 16:240, 80:304]).max() <= 1


def test_a_png_whose_checksum_is_wrong_is_told_and_not_fatal():
    """torchvision's decoder ends the process there (0.29)."""
    content = encoded(pictures(1, side=24)[0])
    at = content.index(b"IDAT") + int.from_bytes(content[content.index(b"IDAT") - 4 : content.index(b"IDAT")], "big")
    with pytest.raises(RuntimeError, match="not a readable image"):
        views.decode(content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :])


@pytest.mark.parametrize("form", ["JPEG", "PNG", "GIF"])
def test_a_small_file_that_asks_for_gigabytes_is_refused(monkeypatch, form):
    """By what its header says, before memory is taken: here of an image above the limit, where that is 100 pixels."""
    file = io.BytesIO()
    Image.new("RGB", (300, 300)).save(file, form)
    assert views.decode(file.getvalue()).shape == (3, 300, 300)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    monkeypatch.setattr(views, "SMALL", 0)
    with pytest.raises(RuntimeError, match="exceeds limit of 200 pixels") as told:
        views.decode(file.getvalue())
    assert "\n" not in str(told.value)
