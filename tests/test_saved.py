"""Saved tensors: whatever happens to a file, what is read is what was written, or nothing."""

import io
import zipfile
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from limits import no_file_larger_than

from bench import saved

CONTENT = {
    "net": {"conv1.weight": torch.arange(48, dtype=torch.float32).reshape(4, 12), "steps": torch.tensor(7)},
    "curve": [{"iteration": 20, "train_error": 0.25}],
    "cell_id": "0123456789abcdef",
}


def _bytes() -> bytes:
    buffer = io.BytesIO()
    torch.save(CONTENT, buffer)
    return buffer.getvalue()


WHOLE = _bytes()


@given(st.integers(0, len(WHOLE) - 1))
def test_a_disk_that_fills_is_told_and_what_was_there_stays(tmp_path_factory, room):
    path = tmp_path_factory.mktemp("full") / "saved.pt"
    saved.save(CONTENT, path)
    with no_file_larger_than(room), pytest.raises(OSError, match="File too large"):
        saved.save(CONTENT, path)
    assert list(path.parent.iterdir()) == [path] and _same(saved.load(path))


def _same(content) -> bool:
    weights, steps = content["net"]["conv1.weight"], content["net"]["steps"]
    return (
        torch.equal(weights, CONTENT["net"]["conv1.weight"])
        and steps == 7
        and {k: content[k] for k in ("curve", "cell_id")} == {k: CONTENT[k] for k in ("curve", "cell_id")}
    )


def _read(folder: Path, content: bytes):
    path = folder / "saved.pt"
    path.write_bytes(content)
    return saved.load(path)


def test_what_was_saved_is_read(tmp_path):
    assert _same(_read(tmp_path, WHOLE))


@settings(max_examples=400, deadline=None)
@given(st.integers(0, 8 * len(WHOLE) - 1))
def test_a_flipped_bit_is_never_another_value(tmp_path_factory, bit):
    spoiled = bytearray(WHOLE)
    spoiled[bit // 8] ^= 1 << bit % 8
    try:
        content = _read(tmp_path_factory.mktemp("flipped"), spoiled)
    except ValueError:
        return
    assert _same(content)


def test_every_bit_of_the_tensors_is_looked_at(tmp_path):
    with zipfile.ZipFile(io.BytesIO(WHOLE)) as records:
        (name,) = (n for n in records.namelist() if n.endswith("data/0"))
        at = WHOLE.index(records.read(name))
    for byte in range(at, at + 4 * 48):
        spoiled = bytearray(WHOLE)
        spoiled[byte] ^= 1
        with pytest.raises(ValueError, match=r"data/0 is not that of its bytes|Bad CRC-32"):
            _read(tmp_path, spoiled)


@settings(max_examples=50, deadline=None)
@given(st.integers(0, len(WHOLE) - 1))
def test_a_file_cut_short_is_not_read(tmp_path_factory, length):
    with pytest.raises(ValueError, match=r"."):
        _read(tmp_path_factory.mktemp("cut"), WHOLE[:length])


def test_the_form_without_checksums_is_read(tmp_path):
    torch.save(CONTENT, tmp_path / "old.pth", _use_new_zipfile_serialization=False)
    assert _same(saved.load(tmp_path / "old.pth"))


def test_no_code_is_run(tmp_path):
    class Mark:
        def __reduce__(self):
            return Path.touch, (tmp_path / "ran",)

    torch.save({"net": Mark()}, tmp_path / "evil.pt")
    with pytest.raises(ValueError, match="holds more than tensors by name"):
        saved.load(tmp_path / "evil.pt")
    assert not (tmp_path / "ran").exists()
