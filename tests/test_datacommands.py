"""The commands of `resbench data` on folders, tar files and parquet, as a user types them."""

import pytest
from images import encoded, photographs, pictures, small, write_shard

from bench.album import load
from bench.cli import main
from bench.source import Source

pytestmark = pytest.mark.usefixtures("fresh_cache")


def shards(root, sides):
    for part in ("train", "test"):
        images = [encoded(pictures(1, side=side)[0]) for side in sides]
        members = [m for n, image in enumerate(images) for m in ((f"{n}.png", image), (f"{n}.cls", b"%d" % n))]
        write_shard(root / f"{part}.tar", members)
    return Source.parse(f"webdataset:{root}")


def parquet(root, sides):
    rows = [encoded(pictures(1, side=side)[0]) for side in sides], list(range(len(sides)))
    return small(root, rows, rows)


@pytest.mark.parametrize("make", [shards, parquet])
def test_images_of_one_size_are_described_as_arrays(tmp_path, capsys, make):
    assert main(["data", str(make(tmp_path / "d", [6, 6, 6]))]) == 0
    assert "3 x 6 x 6 pixels, 3 classes" in capsys.readouterr().out


@pytest.mark.parametrize("make", [shards, parquet, lambda root, _: photographs(root, classes="abc", each=1)])
def test_images_of_unlike_sizes_are_described_as_an_album(tmp_path, capsys, make):
    source = make(tmp_path / "d", [6, 6, 7])
    assert main(["data", str(source)]) == 0
    text = capsys.readouterr().out
    assert f"{source.identity}: images of unlike sizes, 3 classes; a recipe with crop_size trains on it" in text
    assert "training images: 3," in text and "test images: 3" in text and load(source).sha256 in text


def test_a_bad_image_among_those_of_one_size_is_told(tmp_path, capsys):
    source = shards(tmp_path / "d", [6, 6])
    write_shard(tmp_path / "d" / "test.tar", [("x.png", b"junk"), ("x.cls", b"0")])
    assert main(["data", str(source)]) == 2
    assert "member x.png: not an image" in capsys.readouterr().err


def test_make_folder_then_check_it(tmp_path, capsys):
    out = str(tmp_path / "photos")
    command = ["data", "make-folder", out, "--from", "digits", "--classes", "2", "--train", "9", "--test", "4"]
    assert main([*command, "--size", "16..24"]) == 0
    assert capsys.readouterr().out == f"{out}: made\n"
    assert main([*command, "--size", "16..24"]) == 0
    assert capsys.readouterr().out == f"{out}: already made with these options\n"
    assert main([*command, "--size", "32"]) == 2
    assert "least = 16, not 32, most = 24, not 32" in capsys.readouterr().err
    check = ["data", "imagenet-check", out, "--classes", "2", "--train", "9", "--workers", "1"]
    assert main([*check, "--val", "4"]) == 0
    text = capsys.readouterr().out
    assert text.startswith(
        f"{out}: 2 classes, 9 training and 4 validation images\n13 of 13 images can be decoded; all is"
    )
    (tmp_path / "photos" / "val" / "1" / "bad.JPEG").write_bytes(b"junk")
    assert main([*check, "--val", "4"]) == 1
    text = capsys.readouterr().out
    assert (
        "5 validation images; expected: 4\n" in text
        and "bad.JPEG: cannot be decoded: not an image in a known form" in text
    )
    assert text.endswith("13 of 14 images can be decoded; not all is as it should be\n")
    assert main(["data", "imagenet-check", str(tmp_path / "nothing")]) == 2
    assert "there is no such folder" in capsys.readouterr().err


def test_help_of_two_word_commands_has_examples(capsys):
    for name in ("make-folder", "imagenet-check"):
        with pytest.raises(SystemExit) as ended:
            main(["data", name, "--help"])
        text = capsys.readouterr().out
        assert ended.value.code == 0 and f"usage: resbench data {name}" in text and "examples:" in text


@pytest.mark.parametrize("size", ["", "x", "96..", "320..96", "7", "8..9999", "96-320", "..9"])
def test_sizes_that_are_none(capsys, size):
    with pytest.raises(SystemExit):
        main(["data", "make-folder", "x", "--from", "digits", "--classes", "2", "--size", size])
    assert "pixels from A to B, as 96..320" in capsys.readouterr().err
