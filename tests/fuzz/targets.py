"""What reads files of others, each as a function of bytes, out of which come the errors of `bench.errors` alone."""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from PIL import Image
from synthetic import a_cell, a_curve, a_run

from bench import decode, foreign, groundtruth, parts, shards, study, views, weights
from bench.cell import Arch
from bench.errors import ResbenchError
from bench.nets import build
from bench.run import row
from bench.source import Source
from bench.store import RUNS, VERSION

ROOT = Path(__file__).parent.parent.parent
DEEP = "d" * 120 + "/é"  # a name that a header alone does not hold
ARCH = Arch("cifar", 8, "A")


@dataclass(frozen=True)
class Target:
    """`read` is given a file of that `name` with any bytes; `seeds` makes valid ones; `also` are errors of its own."""

    name: str
    read: Callable[[Path], object]
    seeds: Callable[[], list[bytes]]
    also: tuple[type[Exception], ...] = ()

    def __call__(self, data: bytes) -> bool:
        """Read these bytes; whether they could be. What comes out beside the errors that are allowed is a finding."""
        with TemporaryDirectory(dir=scratch()) as folder:
            path = Path(folder) / self.name
            path.write_bytes(data)
            try:
                self.read(path)
            except (ResbenchError, *self.also) as error:
                assert str(error)
                return False
        return True


@cache
def scratch() -> str | None:
    """A folder in memory, where there is one: files are written by the thousand."""
    return "/dev/shm" if Path("/dev/shm").is_dir() else None


def _studies() -> list[bytes]:
    return [path.read_bytes() for path in sorted((ROOT / "ablations").glob("*.toml"))]


def _study(path: Path) -> None:
    study.load(path)
    study.load(path, {"depth": [8, 20], "seeds": 2})


def _table(path: Path) -> None:
    table = parts.read([path], RUNS, VERSION)
    parts.check(path)
    table.to_pylist()


def _tables() -> list[bytes]:
    """Of a row, as it is written, and as it was before there were seals."""
    cell = a_cell()
    curve = a_curve(cell)
    table = pa.Table.from_pylist([{"schema_version": 1} | row(cell, a_run(cell, curve))], schema=RUNS)
    with TemporaryDirectory() as folder:
        parts.write(table, Path(folder) / "sealed")
        return [(Path(folder) / "sealed").read_bytes(), _parquet(table), _parquet(table.select(["schema_version"]))]


def _parquet(table: pa.Table) -> bytes:
    file = io.BytesIO()
    pq.write_table(table, file)
    return file.getvalue()


def _saved() -> list[bytes]:
    torch.manual_seed(0)
    net, found = build(ARCH, channels=1, classes=10).state_dict(), []
    for content, new in ((net, True), ({"cell_id": "a", "net": net}, True), ({"fc.weight": net["fc.weight"]}, False)):
        file = io.BytesIO()
        torch.save(content, file, _use_new_zipfile_serialization=new)
        found.append(file.getvalue())
    return found


def _weights(path: Path) -> None:
    weights.load(path, ARCH)


def _images() -> list[bytes]:
    pixels = np.add.outer(np.arange(24), np.arange(32)).astype(np.uint8)
    found = []
    for mode in ("L", "RGB"):
        image = Image.fromarray(pixels).convert(mode)
        for form, options in (
            ("PNG", {}),
            ("JPEG", {}),
            ("JPEG", {"progressive": True}),
            ("WEBP", {"lossless": True}),
            ("GIF", {}),
            ("BMP", {}),
            ("TIFF", {}),
        ):
            file = io.BytesIO()
            image.save(file, form, **options)
            found.append(file.getvalue())
    return found


def _one_size(path: Path) -> None:
    decode.read_image("an image", path)


def _any_size(path: Path) -> None:
    views.decode(path.read_bytes())


def _shard(path: Path) -> None:
    for sample in shards.samples(path):
        assert 0 <= sample.offset <= sample.offset + sample.length <= path.stat().st_size


def _shards() -> list[bytes]:
    found = []
    for form in (tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT):
        file = io.BytesIO()
        with tarfile.open(fileobj=file, mode="w", format=form) as tar:
            for name, content in (
                (f"{'d' * 60}/é.png", b"x" * 700),
                (f"{'d' * 60}/é.cls", b"3"),
                ("b.json", b'{"label": 1}'),
            ):
                member = tarfile.TarInfo(name)
                member.size = len(content)
                tar.addfile(member, io.BytesIO(content))
        found.append(file.getvalue())
    return found


def _hub(path: Path) -> None:
    """Parquet of images, as public hubs publish it."""
    decode.class_names(path)
    for _ in decode.encoded_rows(path):
        pass


def _hubs() -> list[bytes]:
    rows = [{"image": {"bytes": b"\x89PNG", "path": "a.png"}, "label": n} for n in range(3)]
    names = {"info": {"features": {"label": {"names": ["a", "b", "c"]}}}}
    table = pa.Table.from_pylist(rows).replace_schema_metadata({"huggingface": json.dumps(names)})
    return [_parquet(table), _parquet(pa.table({"img": pa.array([b"x"]), "label": pa.array([0])}))]


def _imported(path: Path) -> None:
    foreign.read(path)


def _imports() -> list[bytes]:
    stats = {"data": [0.1, 0.2], "median": 0.15}
    found = {"machine_info": {"cpu": {"brand_raw": "x", "count": 2, "flags": ["avx"]}, "system": "Linux"}}
    found |= {"commit_info": {"id": "ab", "time": "2026-01-01T00:00:00+00:00", "dirty": False}}
    found |= {"datetime": "2026-01-01T00:00:00", "benchmarks": [{"fullname": "a", "stats": stats, "extra_info": {}}]}
    return [json.dumps(found).encode()]


def _truth(path: Path) -> None:
    groundtruth.labels(path.parent, path.parent, ["a.png", "b.png"], ["cat", "dog"])


def _truths() -> list[bytes]:
    return [b"a.png 0\nb.png 1\n", b"a cat\nb dog\n"]


def _source(path: Path) -> None:
    text = path.read_bytes().decode("utf-8", "surrogateescape")
    found = Source.parse(text)
    assert "/" not in found.label and found.label not in ("", ".", "..") and "/" not in found.cache_key


TARGETS = {
    "study": Target("a.toml", _study, _studies),
    "table": Target("a.parquet", _table, _tables),
    "weights": Target("a.pt", _weights, _saved),
    "image": Target("a.png", _one_size, _images),
    "photograph": Target("a.png", _any_size, _images, (RuntimeError,)),  # who asks takes it for a bad image
    "shard": Target("a.tar", _shard, _shards),
    "parquet": Target("a.parquet", _hub, _hubs),
    "import": Target("a.json", _imported, _imports),
    "truth": Target("val.txt", _truth, _truths),
    "source": Target("a", _source, lambda: [b"digits", b"parquet:a/b", b"folder:../x"]),
}
