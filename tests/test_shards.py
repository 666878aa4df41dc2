"""Tar files as WebDataset writes them: grouped, read in place, never unpacked; each fault by its file and member."""

import contextlib
import gzip
import tarfile

import pytest
from hypothesis import given
from hypothesis import strategies as st
from images import encoded, pictures, write_shard

from bench import dataset
from bench.decode import files_of
from bench.errors import DataError
from bench.shards import pages, samples
from bench.source import Source

IMAGE = encoded(pictures(1)[0])
FORMS = [tarfile.PAX_FORMAT, tarfile.GNU_FORMAT, tarfile.USTAR_FORMAT]


def pair(key, label, content=IMAGE, suffix="png"):
    return [(f"{key}.{suffix}", content), (f"{key}.cls", str(label).encode())]


def write(root, train=None, test=None):
    write_shard(root / "train-0.tar", train or [*pair("a", 0), *pair("b", 1)])
    write_shard(root / "test.tar", test or pair("t", 1))
    return Source.parse(f"webdataset:{root}")


def read(source):
    return pages(source, files_of(source))


@pytest.mark.parametrize("form", FORMS)
def test_images_are_read_where_they_lie(tmp_path, form):
    images = [encoded(p) for p in pictures(6)]
    first = [*pair("x/0", 1, images[0]), ("x/0.txt", b"a caption"), *pair("x/1", "0\n", images[1], "JPEG")]
    second = [
        ("2.json", b'{"label": 2, "more": []}'),
        ("2.jpg", images[2]),
        ("README", b"read me"),
        *pair("3", 1, images[3]),
    ]
    write_shard(tmp_path / "d" / "train-000.tar", first, form)
    write_shard(tmp_path / "d" / "train-001.tar", second, form)
    write_shard(tmp_path / "d" / "val-000.tar", pair("4", 2, images[4], "webp") + pair("5", 0, images[5]), form)
    train, test, classes, names = read(Source.parse(f"webdataset:{tmp_path / 'd'}"))
    assert [part.read(n) for part in (train, test) for n in range(len(part))] == images
    assert (train.labels.tolist(), test.labels.tolist(), classes) == ([1, 0, 2, 1], [2, 0], ("0", "1", "2"))
    assert names == [[b"x/0.png", b"x/1.JPEG", b"2.jpg", b"3.png"], [b"4.webp", b"5.png"]]
    assert train.name(1) == f"{tmp_path / 'd' / 'train-000.tar'}, member x/1.JPEG"
    assert test.name(0) == f"{tmp_path / 'd' / 'val-000.tar'}, member 4.webp"


@pytest.mark.parametrize("train", ["train.tar", "train-000.tar", "imagenet1k-train-0000.tar"])
@pytest.mark.parametrize("test", ["test.tar", "val-1.tar", "validation.tar", "imagenet1k-validation-00.tar"])
def test_shards_are_found(tmp_path, train, test):
    write_shard(tmp_path / train, pair("a", 0))
    write_shard(tmp_path / test, pair("b", 0))
    files = files_of(Source.parse(f"webdataset:{tmp_path}"))
    assert [[file.name for file in part] for part in files] == [[train], [test]]


def test_names_of_members_name_no_file_of_this_machine(tmp_path):
    outside = tmp_path / "outside.png"
    long = "deep/" * 60 + "x"
    members = [*pair(f"../{outside.stem}", 0), *pair("/etc/passwd", 1), *pair(long, 0), *pair("ä ö\n\t'\"", 1)]
    train, _, _, names = read(write(tmp_path / "d", members))
    assert [train.read(n) for n in range(len(train))] == [IMAGE] * 4
    assert not outside.exists() and [p.name for p in sorted((tmp_path / "d").iterdir())] == ["test.tar", "train-0.tar"]
    assert names[0][:2] == [b"../outside.png", b"/etc/passwd.png"]
    assert train.name(0).endswith("member ../outside.png") and train.name(2).endswith("…")


def test_folders_and_links_in_a_tar_file_are_passed_over(tmp_path):
    source = write(tmp_path / "d")
    with tarfile.open(tmp_path / "d" / "train-0.tar", "w") as tar:
        for name, kind in (("folder", tarfile.DIRTYPE), ("s.png", tarfile.SYMTYPE), ("h.png", tarfile.LNKTYPE)):
            member = tarfile.TarInfo(name)
            member.type, member.linkname = kind, "/etc/passwd"
            tar.addfile(member)
    with pytest.raises(DataError, match="0 training and 1 test images"):
        read(source)


FAULTS = {
    "no label": ([("a.png", IMAGE)], "member a.png: no label; expected: a.cls, or a.json with `label`"),
    "two images": ([*pair("a", 0), ("a.jpg", IMAGE)], "member a.jpg: a second image of that name, after a.png"),
    "no number": (pair("a", "cat"), "member a.cls: label 'cat'; allowed: whole numbers from 0 on"),
    "below zero": (pair("a", -1), "member a.cls: label '-1'"),
    "huge": (pair("a", "9" * 5000), "member a.cls: label"),
    "not JSON": ([("a.png", IMAGE), ("a.json", b"{")], "member a.json: not readable as JSON"),
    "deep JSON": ([("a.png", IMAGE), ("a.json", b"[" * 100_000)], "member a.json: not readable as JSON"),
    "no label in it": ([("a.png", IMAGE), ("a.json", b'{"caption": "x"}')], "member a.json: label None"),
    "true": ([("a.png", IMAGE), ("a.json", b'{"label": true}')], "member a.json: label True"),
    "a gap": ([*pair("a", 0), *pair("b", 2)], "labels go up to 2, but no training image has label 1"),
}


@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_is_named(tmp_path, name):
    members, message = FAULTS[name]
    with pytest.raises(DataError) as caught:
        read(write(tmp_path / "d", members))
    assert message in str(caught.value) and "\n" not in str(caught.value)


def test_a_test_label_beyond_the_training_labels_is_named(tmp_path):
    with pytest.raises(DataError, match=r"test\.tar, member t\.png: label 2; allowed: whole numbers from 0 to 1"):
        read(write(tmp_path / "d", test=pair("t", 2)))


def test_a_tar_file_cut_short_anywhere_is_told(tmp_path):
    source = write(tmp_path / "d", [*pair("a", 0, bytes(1500)), *pair("b", 1)])
    shard = tmp_path / "d" / "train-0.tar"
    whole = shard.read_bytes()
    with tarfile.open(shard) as tar:
        end = tar.getmembers()[-1].offset_data + 512  # from here on the mark of the end
    for length in [*range(0, end, 100), *range(512, end, 512), end]:
        shard.write_bytes(whole[:length])
        with pytest.raises(DataError, match=r"train-0\.tar"):
            read(source)


def test_what_is_no_tar_file_or_compressed_is_told(tmp_path):
    source = write(tmp_path / "d")
    shard = tmp_path / "d" / "train-0.tar"
    whole = shard.read_bytes()
    for content in (b"junk", gzip.compress(whole), whole[:1024] + b"\1" * 512 + whole[1536:]):
        shard.write_bytes(content)
        with pytest.raises(DataError, match=r"train-0\.tar: (not a readable, uncompressed tar file|damaged)"):
            read(source)


def test_missing_shards_are_named(tmp_path):
    with pytest.raises(DataError, match=r"no train images; expected: train\*\.tar, uncompressed"):
        files_of(Source.parse(f"webdataset:{tmp_path}"))


@pytest.mark.usefixtures("fresh_cache")
def test_images_of_one_size_are_a_data_set_of_arrays_too(tmp_path):
    images = pictures(3)
    source = write(tmp_path / "d", [m for n in range(3) for m in pair(n, n, encoded(images[n]))], pair("t", 2))
    data = dataset.load(source)
    assert (data.train_images == images.transpose(0, 3, 1, 2)).all() and data.test_labels.tolist() == [2]
    assert (data.source, data.class_names) == ("webdataset:d", ("0", "1", "2"))
    write_shard(tmp_path / "d" / "train-0.tar", [*pair("a", 0), *pair("b", 1, b"junk"), *pair("c", 2)])
    with pytest.raises(DataError, match=r"train-0\.tar, member b\.png: not an image"):
        dataset.load(source)


@given(
    st.lists(
        st.tuples(
            st.text(st.characters(exclude_characters="\0", exclude_categories=("Cs",)), min_size=1, max_size=150),
            st.sampled_from([".png", ".cls", ".json", ".txt", ""]),
            st.binary(max_size=20),
        ),
        max_size=6,
    ),
    st.sampled_from(FORMS[:2]),
)
def test_any_members_give_samples_or_one_line(tmp_path_factory, members, form):
    shard = tmp_path_factory.mktemp("any") / "train.tar"
    write_shard(shard, [(name + suffix, content) for name, suffix, content in members], form)
    try:
        found = list(samples(shard))
    except DataError:
        return
    content = shard.read_bytes()
    written = {(name + suffix, data) for name, suffix, data in members}
    with tarfile.open(shard) as tar:  # what tarfile itself reads: it strips slashes at a name's end
        read_back = {(m.name, tar.extractfile(m).read()) for m in tar.getmembers() if m.isreg()}
    assert {(s.name, content[s.offset : s.offset + s.length]) for s in found} <= read_back
    assert len(read_back) <= len(written)


@given(st.binary(max_size=3000))
def test_any_file_gives_samples_or_a_data_error(tmp_path_factory, content):
    shard = tmp_path_factory.mktemp("any") / "train.tar"
    shard.write_bytes(content)
    with contextlib.suppress(DataError):
        list(samples(shard))
