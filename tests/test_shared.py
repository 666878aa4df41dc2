"""Files in shared storage: a folder, or what is none and behaves as an object store does."""

import pytest
from objects import store

from bench.errors import InputError, StoreError
from bench.shared import Shared


@pytest.fixture(params=["folder", "file URI", "objects"])
def storage(request, tmp_path):
    if request.param == "objects":
        return store(tmp_path / "bucket")[0]
    place = tmp_path / "shared"
    return Shared(str(place) if request.param == "folder" else f"file://{place}")


def test_a_file_is_written_read_replaced_copied_and_removed(storage, tmp_path):
    assert storage.read("answers/x") is None and not storage.has("answers/x")
    storage.write("answers/x", b"one")
    storage.write("answers/x", b"two")
    assert storage.read("answers/x") == b"two" and storage.has("answers/x")
    assert storage.fetch("answers/x", tmp_path / "here" / "x")
    (tmp_path / "here" / "x").write_bytes(b"three" * 1000)
    storage.put(tmp_path / "here" / "x", "checkpoints/x")
    assert storage.read("checkpoints/x") == b"three" * 1000
    assert not storage.fetch("checkpoints/y", tmp_path / "here" / "y") and not (tmp_path / "here" / "y").exists()
    storage.remove("answers/x", "answers/never", "checkpoints/x")
    assert storage.read("answers/x") is None and not storage.has("checkpoints/x")


def test_only_a_folder_of_this_machine_needs_no_copies(tmp_path):
    assert Shared(str(tmp_path)).folder == Shared(f"file://{tmp_path}").folder == tmp_path
    assert store(tmp_path)[0].folder is None


def test_what_breaks_off_is_never_taken_for_the_file(tmp_path):
    storage, handler = store(tmp_path / "bucket")
    storage.write("answers/x", b"whole")
    handler.failing = {"move"}
    with pytest.raises(StoreError):
        storage.write("answers/x", b"half")
    handler.failing = set()
    assert storage.read("answers/x") == b"whole"


@pytest.mark.parametrize("call", ["read", "write", "remove", "has"])
def test_storage_that_cannot_be_reached_is_told_in_a_line_with_its_name(tmp_path, call):
    storage, handler = store(tmp_path)
    handler.failing = {"open_input_stream", "open_output_stream", "delete_file", "get_file_info"}
    with pytest.raises(StoreError, match=r"^s3://bucket/study/answers/x: .*NETWORK_CONNECTION.*") as caught:
        getattr(storage, call)("answers/x", *([b""] if call == "write" else []))
    assert "\n" not in str(caught.value)


def test_a_disk_that_is_read_only_is_told_with_the_files_name(tmp_path):
    (tmp_path / "answers").write_text("a file where a folder should be")
    with pytest.raises(StoreError, match=f"{tmp_path}/answers/x: "):
        Shared(str(tmp_path)).write("answers/x", b"")


@pytest.mark.parametrize("uri", ["ftp://host/dir", "nonsense://x", "s3://"])
def test_a_uri_that_cannot_be_used_is_told(uri):
    with pytest.raises(InputError, match=f"--shared {uri}: "):
        Shared(uri)
