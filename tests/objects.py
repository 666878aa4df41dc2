"""An object store that is a folder: what S3 and the like are to `bench.shared`, without a network."""

from __future__ import annotations

from pathlib import Path

from pyarrow import fs

from bench.shared import Shared


class Handler(fs.FileSystemHandler):
    """Passes calls on to a folder; those named in `failing` find no network, as pyarrow's S3 tells it."""

    def __init__(self, root: Path) -> None:
        root.mkdir(parents=True, exist_ok=True)
        self._fs = fs.SubTreeFileSystem(str(root), fs.LocalFileSystem())
        self.failing: set[str] = set()

    def _call(self, name: str, *args, **kwargs):
        if name in self.failing:
            raise OSError("When reading from bucket: AWS Error NETWORK_CONNECTION during operation: no route")
        return getattr(self._fs, name)(*args, **kwargs)

    def get_type_name(self):
        return "objects"

    def normalize_path(self, path):
        return path

    def get_file_info(self, paths):
        return self._call("get_file_info", paths)

    def get_file_info_selector(self, selector):
        return self._call("get_file_info", selector)

    def create_dir(self, path, recursive):
        self._call("create_dir", path, recursive=recursive)

    def delete_dir(self, path):
        self._call("delete_dir", path)

    def delete_dir_contents(self, path, missing_dir_ok):
        self._call("delete_dir_contents", path, missing_dir_ok=missing_dir_ok)

    def delete_root_dir_contents(self):
        raise NotImplementedError

    def delete_file(self, path):
        self._call("delete_file", path)

    def move(self, source, target):
        self._call("move", source, target)

    def copy_file(self, source, target):
        self._call("copy_file", source, target)

    def open_input_stream(self, path):
        return self._call("open_input_stream", path, compression=None)

    def open_input_file(self, path):
        return self._call("open_input_file", path)

    def open_output_stream(self, path, metadata):
        return self._call("open_output_stream", path, compression=None, metadata=metadata)

    def open_append_stream(self, path, metadata):
        return self._call("open_append_stream", path, metadata=metadata)


def store(root: Path) -> tuple[Shared, Handler]:
    """Storage in a folder that `Shared` takes for a bucket, and what makes it fail."""
    handler = Handler(root)
    return Shared("s3://bucket/study", fs.PyFileSystem(handler)), handler
