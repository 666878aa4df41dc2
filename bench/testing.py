"""What `resbench evaluate` does: tests a net from a file, and sets its errors beside published ones."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

from bench.accuracy import PROTOCOLS, Accuracy
from bench.cell import Arch, Cell, Recipe, values
from bench.errors import EXIT_OK, DataError, DeviceError, FieldError, ResbenchError
from bench.terminal import say

ENTRY = "bench.evaluator:run"
CROPS = {"imagenet": 224, "cifar": 32}
# top-1 and top-5 errors, %, on one crop of ImageNet's validation images: weights IMAGENET1K_V1 of torchvision 0.29
TORCHVISION = {
    18: (30.242, 10.922),
    34: (26.686, 8.580),
    50: (23.870, 7.138),
    101: (22.626, 6.454),
    152: (21.688, 5.954),
}


@dataclass(frozen=True)
class Line:
    """One error of a test, a fraction, with its exact binomial interval (95 %); published ones are in percent."""

    protocol: str
    top: int
    images: int
    error: float | None
    low: float | None
    high: float | None
    paper: float | None
    torchvision: float | None


def evaluate(options: Namespace) -> int:
    """Test a net from a file."""
    from bench import session
    from bench.source import Source

    try:
        arch, source = _arch(options), Source.parse(options.data)
    except FieldError as error:
        raise error.at("resbench evaluate") from None
    job, environment, device = _job(options, arch)
    session.console()(f"{arch.label} of {options.weights} on {source.identity}, {device}")
    answer = _run(job, environment, session.console())
    found = {name: _accuracy(fields) for name, fields in answer["accuracies"].items()}
    lines = list(_lines(found, arch, source.identity, options.normalise))
    if options.json:
        print(_json(options, arch, source.identity, device, answer, found, lines))
    else:
        say(*_text(arch, found, lines))
    return EXIT_OK


def _arch(options: Namespace) -> Arch:
    plain = Arch(options.family, options.depth, options.shortcut, options.width)
    stride = options.stride or ("v1.5" if plain.bottleneck else "original")
    return replace(plain, stride=stride)


def _job(options: Namespace, arch: Arch) -> tuple[dict[str, Any], tuple[tuple[str, str], ...], str]:
    """What to do in a child, the child's environment, and the device in words."""
    from bench import host
    from bench.slots import choose_gpus, slots

    gpus = choose_gpus(options.device)[:1]
    place, cores = slots(gpus, 1)[0], host.cores()
    asked = ("data", "normalise", "split", "split_seed", "batch", "bad_images", "images")
    job = {name: getattr(options, name) for name in asked} | {
        "weights": str(options.weights),
        "arch": values(arch),
        "protocols": list(dict.fromkeys(options.protocol)),
        "crop": options.crop or CROPS[arch.family],
        "device": place.device,
        "threads": cores,
        "loaders": (cores if gpus else 0) if options.loaders is None else options.loaders,
    }
    job["source"] = job.pop("data")
    return job, place.environment, gpus[0].name if gpus else f"{host.cpu_model()}, cores: {cores}"


def _run(job: dict[str, Any], environment: tuple[tuple[str, str], ...], told: Any) -> dict[str, Any]:
    import tempfile
    from pathlib import Path

    from bench import pool
    from bench.task import Died, Task

    with tempfile.TemporaryDirectory() as folder:
        task = Task("evaluate", ENTRY, job, Path(folder) / "evaluate.log", environment)
        end = pool.outcome(task, told)
    if not isinstance(end, Died):
        return end.value
    if end.cause == "out-of-memory":
        raise DeviceError(f"{end.reason}; a smaller --batch than {job['batch']:,} takes less memory")
    raise (ResbenchError if end.cause == "refused" else DataError)(end.reason)


def _accuracy(fields: dict[str, Any]) -> Accuracy:
    return Accuracy(**{name: value for name, value in fields.items() if name != "seconds"})


def _lines(found: dict[str, Accuracy], arch: Arch, data: str, normalise: str) -> Iterator[Line]:
    from bench import paper
    from bench.stats import clopper_pearson

    theirs = Cell(replace(arch, stride="original"), Recipe(), data)
    for protocol, accuracy in found.items():
        errors = ((1, accuracy.wrong1, accuracy.top1_error), (5, accuracy.wrong5, accuracy.top5_error))
        for (top, wrong, error), metric in zip(errors, PROTOCOLS[protocol], strict=True):
            low, high = clopper_pearson(wrong, accuracy.images) if accuracy.images else (None, None)
            figure = paper.published(theirs, metric)
            published = figure.value if figure else None
            weights = _torchvisions(arch, data, protocol, normalise, top)
            yield Line(protocol, top, accuracy.images, error, low, high, published, weights)


def _torchvisions(arch: Arch, data: str, protocol: str, normalise: str, top: int) -> float | None:
    """What torchvision publishes of its weights for such a net, tested so."""
    from bench import paper

    same = Arch("imagenet", arch.depth, "B", stride="v1.5" if arch.bottleneck else "original") == arch
    if not same or protocol != "single" or normalise != "torchvision" or not paper.named(data, "imagenet"):
        return None
    return TORCHVISION[arch.depth][top == 5]


def _text(arch: Arch, found: dict[str, Accuracy], lines: list[Line]) -> Iterator[str]:
    from bench.table import Column, table

    columns = ["test", "images", Column("error, %", 3, 100.0), "95 % interval"]
    published = [name for name in ("paper", "torchvision") if any(getattr(line, name) is not None for line in lines)]
    rows = []
    for line in lines:
        interval = None if line.low is None else f"{100 * line.low:.3f} to {100 * line.high:.3f}"
        figures = [getattr(line, name) for name in published]
        rows.append((f"{line.protocol}, top-{line.top}", line.images, line.error, interval, *figures))
    yield table("evaluate", [*columns, *(Column(name, 3) for name in published)], rows).text()
    if "paper" in published and arch.stride != "original":
        yield "the paper's nets subsample in the first 1x1, this one in the 3x3 (v1.5)"
    if "torchvision" in published:
        yield "torchvision's: of its weights IMAGENET1K_V1"
    for protocol, accuracy in found.items():
        if accuracy.bad:
            yield f"{protocol}: {accuracy.bad:,} images could not be decoded and are left out"


def _json(
    options: Namespace,
    arch: Arch,
    data: str,
    device: str,
    answer: dict[str, Any],
    found: dict[str, Accuracy],
    lines: list[Line],
) -> str:
    import json

    tests = [
        {
            **{"protocol": name, "images": accuracy.images, "bad_images": accuracy.bad},
            "seconds": answer["accuracies"][name]["seconds"],
            "errors": {f"top{line.top}": _plain(line) for line in lines if line.protocol == name},
        }
        for name, accuracy in found.items()
    ]
    facts = {"weights": str(options.weights), "arch": values(arch), "data": data, "data_sha256": answer["sha256"]}
    return json.dumps(facts | {"normalise": options.normalise, "device": device, "tests": tests}, indent=2)


def _plain(line: Line) -> dict[str, Any]:
    """Errors as fractions, published ones as they are printed, in percent."""
    return {
        "error": line.error,
        "interval": [line.low, line.high],
        "paper_percent": line.paper,
        "torchvision_percent": line.torchvision,
    }
