"""Where the time of a training step goes, as a table a net, beside the floors of its bytes and its multiply-adds.

`make profile` runs it, on the GPU if there is one. It prints Markdown.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import statistics
import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import nn
from torch.autograd import DeviceType
from torch.profiler import ProfilerActivity, profile, record_function

from bench import dataset
from bench.arguments import count
from bench.cell import MOST_ITERATIONS, Arch, Cell, Recipe
from bench.errors import EXIT_INTERRUPTED, EXIT_OK, DeviceError, InputError, ResbenchError
from bench.floors import Ceilings, Needs, measure_ceilings, precisions, step_needs
from bench.host import cores, cpu_model
from bench.kinds import FORWARD, Scope, Share, Work, shares, unknown
from bench.measure import Stopwatch
from bench.source import ALLOWED, Source
from bench.table import Column, percent, table
from bench.texts import escaped
from bench.train import Training

WINDOWS = 3
UNKNOWN_SHOWN = 8
SMALL = {"crop_padding": 1, "flip": False}  # images such as digits are augmented as in the default study
EPILOG = """\
examples:
  make profile
  make profile PROFILE='--depth 110 --shortcut A B --batch 64'
  python -m bench.profiling --depth 20 --data noise32 --batch 128 --device cpu
"""


@dataclass(frozen=True)
class Defaults:
    """What is profiled where nothing else is said: the paper's batches on a GPU, a size for seconds on a CPU."""

    data: str
    batch: int
    steps: int
    warm_up: int  # steps
    precisions: tuple[str, ...]


DEFAULTS = {
    "cpu": Defaults("digits", 32, 10, 3, ("fp32",)),
    "cuda": Defaults("noise32", 128, 50, 20, ("fp32", "bf16")),
}


@dataclass(frozen=True)
class Profile:
    """A step of a net, in seconds.

    `seconds` is its time outside the profiler. `shares` is what each kind of work took, and `profiled_seconds` the
    whole that they are shares of: on a CPU the time under the profiler, which lengthens every operation by about a
    microsecond; on a GPU, whose kernels it does not lengthen, the time outside, or the kernels' sum where they overlap
    and it is more. `rest` is what no work accounts for: on a CPU the time in Python, on a GPU that it waits.
    """

    seconds: float
    profiled_seconds: float
    shares: dict[str, Share]
    unknown: dict[str, float]

    @property
    def rest(self) -> float:
        """Seconds of the whole that are no operation's and no kernel's."""
        return max(0.0, self.profiled_seconds - sum(share.seconds for share in self.shares.values()))


def profile_steps(training: Training, steps: int, warm_up: int) -> Profile:
    """Time and profile training steps in turns, in three windows each of `steps` steps; the medians count.

    On a machine that has other work both vary; then the whole of the table may be below the step's own time.
    """
    on_gpu = training.device.type == "cuda"
    training.advance(training.iteration + warm_up)
    timed, profiled = [], []
    for _ in range(WINDOWS):
        timed.append(_seconds(training, steps))
        with _forward_marked(training.module), _profiler(training.device) as profiler:
            took = _seconds(training, steps)
        profiled.append((took, profiler))
    seconds = statistics.median(timed)
    profiled_seconds, profiler = sorted(profiled, key=lambda window: window[0])[WINDOWS // 2]
    works = list(collect(profiler.events(), on_gpu))
    found = {kind: Share(s.seconds / steps, round(s.calls / steps)) for kind, s in shares(works).items()}
    if on_gpu:
        profiled_seconds = max(seconds, sum(share.seconds for share in found.values()))
    return Profile(seconds, profiled_seconds, found, {name: s / steps for name, s in unknown(works).items()})


def _seconds(training: Training, steps: int) -> float:
    """Seconds a step."""
    watch = Stopwatch(training.device)
    with training.stream(), watch.running():
        training.advance(training.iteration + steps)
    return watch.seconds / steps


def _profiler(device: torch.device) -> profile:
    os.environ.setdefault("KINETO_LOG_LEVEL", "9")  # or it reports on standard error that it starts and stops
    on_gpu = device.type == "cuda"
    activities = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if on_gpu else [])]
    return profile(activities=activities, record_shapes=True, acc_events=True)


@contextlib.contextmanager
def _forward_marked(net: nn.Module) -> Iterator[None]:
    """Record the net's forward passes as the scope `FORWARD`: `aten::pad` is a shortcut in it, and a crop outside."""
    scopes: list[record_function] = []

    def enter(*_: object) -> None:
        scopes.append(record_function(FORWARD))
        scopes[-1].__enter__()

    def leave(*_: object) -> None:
        scopes.pop().__exit__(None, None, None)

    hooks = [net.register_forward_pre_hook(enter), net.register_forward_hook(leave)]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


def collect(events: Iterable[Any], on_gpu: bool) -> Iterator[Work]:
    """The work in a profiler's events (torch.autograd.profiler_util.FunctionEvent): kernels on a GPU, else operations.

    Kernels that the profiler cannot attribute to an operation, as those replayed from a CUDA graph, have no scopes.
    """
    events = list(events)
    operations = [event for event in events if event.device_type == DeviceType.CPU]
    if not on_gpu:
        yield from (_operation(event) for event in operations if event.name != FORWARD)
        return
    annotations = {event.name for event in operations}  # the profiler mirrors scopes among the kernels
    attributed: Counter[tuple[str, float]] = Counter()
    for event in operations:
        for kernel in event.kernels:
            if kernel.name not in annotations:
                attributed[kernel.name, kernel.duration] += 1
                yield Work(_scopes(event), kernel.duration / 1e6, kernel.name)
    for event in events:
        duration = event.time_range.end - event.time_range.start
        if event.device_type != DeviceType.CUDA or event.name in annotations:
            continue
        if attributed[event.name, duration] > 0:
            attributed[event.name, duration] -= 1
        else:
            yield Work((), duration / 1e6, event.name)


def _operation(event: Any) -> Work:
    own = event.name.startswith("aten::")
    inner = event.cpu_parent is not None and event.cpu_parent.name.startswith("aten::")
    return Work(_scopes(event), event.self_cpu_time_total / 1e6, calls=int(own and not inner))


def _scopes(event: Any) -> tuple[Scope, ...]:
    scopes = []
    while event is not None:
        first = (event.input_shapes or [()])[0]
        scopes.append(Scope(event.name, len(first) if isinstance(first, list | tuple) else 0))
        event = event.cpu_parent
    return tuple(scopes)


def section(title: str, found: Profile, needs: Needs, ceilings: Ceilings, recipe: Recipe, on_gpu: bool) -> str:
    """A net's part of the page: its table, and its step beside its floors."""
    rest = "GPU idle: launches, Python" if on_gpu else "Python and the profiler"
    rows = [(kind, s.seconds, s.seconds / found.profiled_seconds, s.calls) for kind, s in found.shares.items()]
    rows.append((rest, found.rest, found.rest / found.profiled_seconds, None))
    calls = sum(share.calls for share in found.shares.values())
    whole = "step" if on_gpu else "step under the profiler"
    rows.append((whole, found.profiled_seconds, 1.0, calls))
    columns = ["", Column("ms", 3, 1000.0), percent("share, %"), Column("kernels" if on_gpu else "operations")]
    lines = [f"## {escaped(title)}", "", table("profile", columns, rows).markdown(), ""]
    moving, computing = needs.seconds(ceilings, recipe.precision)
    a_step, per_image = found.seconds, needs.bytes / recipe.batch / 1e6
    lines += [
        f"- step: {1000 * a_step:.3f} ms, {recipe.batch / a_step:,.0f} images/s",
        f"- floor by bandwidth: {1000 * moving:.3f} ms for {needs.bytes / 1e6:,.1f} MB ({per_image:.2f} an image); "
        f"achieved: {moving / a_step:.1%} of the copy bandwidth",
        f"- floor by multiply-adds: {1000 * computing:.3f} ms for {needs.multiply_adds / 1e9:,.2f} G; "
        f"achieved: {computing / a_step:.1%} of the {recipe.precision} matrix rate",
    ]
    if on_gpu and not found.shares:
        lines.append("- the profiler saw no kernel: all time is shown as idle")
    if found.unknown:
        names = ", ".join(
            f"{escaped(name)} {1000 * s:.3f} ms" for name, s in list(found.unknown.items())[:UNKNOWN_SHOWN]
        )
        lines.append(f"- other: {names}")
    return "\n".join(lines) + "\n"


def heading(device: torch.device, ceilings: Ceilings) -> str:
    """What the page was measured on, and the device's ceilings."""
    threads = torch.get_num_threads()
    on_gpu = device.type == "cuda"
    name = torch.cuda.get_device_name(device) if on_gpu else f"{cpu_model()}, {cores()} cores, threads: {threads}"
    rates = ", ".join(f"{rate / 1e9:,.1f} G multiply-adds/s in {p}" for p, rate in ceilings.rates.items())
    return (
        "# Where a step's time goes\n\n"
        f"{escaped(name)}; torch {torch.__version__}. Its ceilings, the best of some windows: copy bandwidth "
        f"{ceilings.bandwidth / 1e9:,.1f} GB/s (read and written), matrix rate {rates}.\n"
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """Profile the nets that were asked for; returns the exit code."""
    options = _parser().parse_args(arguments)
    try:
        for part in _pages(options):
            print(part, flush=True)
        return EXIT_OK
    except ResbenchError as error:
        print(f"profile: error: {error}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        return EXIT_INTERRUPTED


def _pages(options: argparse.Namespace) -> Iterator[str]:
    device = _device(options.device)
    usual = DEFAULTS[device.type]
    torch.set_num_threads(options.threads)
    batch, steps = options.batch or usual.batch, options.steps or usual.steps
    chosen = options.precision or usual.precisions
    if absent := [name for name in chosen if name not in precisions(device)]:
        raise InputError(f"--precision {absent[0]} is not allowed on {device.type}: {', '.join(precisions(device))}")
    archs = [Arch(depth=d, shortcut=s) for d in options.depth for s in options.shortcut]
    speed = {"memory_format": options.memory_format, "compiled": options.compiled}
    recipes = {name: replace(_recipe(batch, name), **speed) for name in chosen}
    data = options.data or usual.data
    images = dataset.load(Source.parse(data))
    if device.type == "cuda":
        _prepare_gpu(device)
    ceilings = measure_ceilings(device)
    yield heading(device, ceilings)
    for arch in archs:
        for precision in chosen:
            recipe = recipes[precision] if images.size[0] >= 32 else replace(recipes[precision], **SMALL)
            training = Training(Cell(arch, recipe, data), images, device.type)
            found = profile_steps(training, steps, usual.warm_up)
            needs = step_needs(arch, batch, precision, images.channels, images.size[0], images.classes)
            size = " x ".join(map(str, images.train_images.shape[1:]))
            title = f"{arch.label}, {data} ({size}), batch {batch}, {precision}"
            yield section(title, found, needs, ceilings, recipe, device.type == "cuda")


def _recipe(batch: int, precision: str) -> Recipe:
    """The paper's, without an end."""
    endless = {"iterations": MOST_ITERATIONS, "eval_every": MOST_ITERATIONS}
    return Recipe(batch=batch, precision=precision, last_batch="drop", **endless)


def _device(name: str) -> torch.device:
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    if name == "cuda" and not torch.cuda.is_available():
        raise DeviceError("--device cuda: torch sees no CUDA device")
    return torch.device(name)


def _prepare_gpu(device: torch.device) -> None:
    """Start the tracer of kernels once and keep it: of graphs captured before that it may see nothing."""
    os.environ.setdefault("TEARDOWN_CUPTI", "0")
    os.environ.setdefault("DISABLE_CUPTI_LAZY_REINIT", "1")
    with _profiler(device):
        torch.ones((), device=device).add_(1)
        torch.cuda.synchronize(device)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m bench.profiling",
        description="Where the time of a training step goes, a table a net, beside what it takes at least.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--depth", type=int, nargs="+", default=[20, 56], help="6n+2 (default: 20 56)")
    parser.add_argument("--shortcut", nargs="+", default=["A"], help="none, A, B or C (default: A)")
    parser.add_argument("--batch", type=count(1), help="images (default: 32 on a CPU, 128 on a GPU)")
    parser.add_argument("--precision", nargs="+", help="fp32, tf32 or bf16 (default: fp32; on a GPU bf16 too)")
    parser.add_argument("--memory-format", default="channels_last", help="or contiguous")
    parser.add_argument("--compiled", action="store_true", help="profile compiled steps")
    parser.add_argument("--data", help=f"{ALLOWED} (default: digits on a CPU, noise32 on a GPU)")
    parser.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto")
    parser.add_argument("--threads", type=count(1), default=1, help="of torch on a CPU (default: 1, as cells run)")
    parser.add_argument("--steps", type=count(1), help="to time and to profile (default: 10 on a CPU, 50 on a GPU)")
    return parser


if __name__ == "__main__":
    sys.exit(main())
