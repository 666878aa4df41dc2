"""Ours beside its peers, as Markdown: images per second, and the default study's wall time. `make bench-peers`.

Every window and every study runs in a process of its own, for the trainers set torch's global switches differently;
the sides take turns, and a ratio is of two samples of one round.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

import torch
from checkout import SCRIPTS, write_batches
from peers import BATCH, images_of

from bench import host, study
from bench.cell import Arch
from bench.errors import ResbenchError
from bench.table import table

HERE = Path(__file__).parent
CUDA = torch.cuda.is_available()
REDUCED = {"seeds": 1, "depth": [8, 20, 56], "shortcut": ["none", "A"]}
Samples = dict[str, list[float]]  # of each side, one a round


def spread(values: list[float], digits: int = 0) -> str:
    """The median, and the range of all."""
    middle, low, high = (f"{value:,.{digits}f}" for value in (median(values), min(values), max(values)))
    return f"{middle} ({low} to {high})" if len(values) > 1 else middle


def output_of(command: list[object], **options: object) -> str:
    """What a Python program of ours prints; a program that fails ends this one with the end of its messages."""
    done = subprocess.run([sys.executable, *map(str, command)], capture_output=True, text=True, **options)
    if done.returncode:
        sys.exit(f"bench-peers: {' '.join(map(str, command))} failed:\n{done.stderr[-2000:]}")
    return done.stdout


def in_turns(rounds: int, sides: dict[str, Callable[[], float]]) -> Samples:
    """A sample of each side in each round; each round begins with another side, lest a place in it counts."""
    samples: Samples = {name: [] for name in sides}
    names = list(sides)
    for number in range(1, rounds + 1):
        for name in names:
            samples[name].append(sides[name]())
            print(f"round {number} of {rounds}: {name}: {samples[name][-1]:,.1f}", file=sys.stderr)
        names = names[1:] + names[:1]
    return samples


def ratios(above: list[float], below: list[float]) -> str:
    """Of samples of the same round."""
    return spread([a / b for a, b in zip(above, below, strict=True)], digits=2)


def throughput(chosen: argparse.Namespace, depth: int) -> str:
    """Images per second of one net, side by side."""
    window = ["--depth", depth, "--warm-up", chosen.warm_up, "--steps", chosen.steps]
    precisions = ["fp32", "tf32", "bf16"] if CUDA else ["fp32", "bf16"]
    commands = {
        f"ours, {p}": [HERE / "peers.py", "ours", "--precision", p, "--data", chosen.data, *window] for p in precisions
    }
    for peer in SCRIPTS:
        commands[f"{peer}, re-expressed"] = [HERE / "peers.py", peer, "--data", chosen.data, *window]
    with tempfile.TemporaryDirectory() as folder:
        checkouts = {peer: getattr(chosen, peer) for peer in SCRIPTS if getattr(chosen, peer)}
        for peer, place in checkouts.items():
            write_batches(images_of(chosen.data), Path(folder, peer))
            script = [HERE / "checkout.py", peer, place.resolve(), "--images", Path(folder, peer)]
            commands[f"{peer}, its own script"] = [*script, *window]
        sides = {name: lambda c=command: float(output_of(c).split()[-1]) for name, command in commands.items()}
        samples = in_turns(chosen.rounds, sides)
    own = [name for name in samples if name.startswith("ours")]
    rows = [
        [name, spread(values), *(None if name in own else ratios(samples[o], values) for o in own)]
        for name, values in samples.items()
    ]
    heads = ["trainer", "images/s", *(f"{name} ÷ it" for name in own)]
    return (
        f"ResNet-{depth}-A, batch {BATCH}, {chosen.data} images; {chosen.rounds} windows of {chosen.steps} steps after "
        f"{chosen.warm_up}; median (least to most). On a GPU the peers' convolutions are in TF32, torch's default.\n\n"
        + table("throughput", heads, rows).markdown()
    )


def study_times(chosen: argparse.Namespace) -> str:
    """The default study on this CPU, and the same cells one after another in a plain loop: whole commands."""
    overrides = {} if chosen.full else REDUCED
    cells = study.load(study.find("degradation"), overrides).cells
    lines = "".join(json.dumps(cell.flat()) + "\n" for cell in cells)
    settings = [word for key, value in overrides.items() for word in ("--set", f"{key}={json.dumps(value)}")]

    def resbench() -> float:
        with tempfile.TemporaryDirectory() as folder:
            command = ["-m", "bench.cli", "run", "degradation", *settings, "--device", "cpu", "--results", folder]
            return seconds(command)

    def seconds(command: list[object], **options: object) -> float:
        start = time.perf_counter()
        output_of(command, **options)
        return time.perf_counter() - start

    sides = {"resbench run": resbench, "a plain loop": lambda: seconds([HERE / "plain.py"], input=lines)}
    samples = in_turns(1 if chosen.full else chosen.study_rounds, sides)
    own, plain = samples.values()
    rows = [[name, spread(values, 1)] for name, values in samples.items()]
    rows.append(["the plain loop ÷ resbench run", ratios(plain, own)])
    return (
        f"The default study{'' if chosen.full else ', reduced'}: {len(cells)} cells on the CPU, evaluations and "
        f"start-up included; n = {len(own)}; median (least to most).\n\n"
        + table("study", ["command", "seconds"], rows).markdown()
    )


def hardware() -> str:
    """What it ran on."""
    toolkit = host.Toolkit(torch.__version__, torch.version.cuda, torch.backends.cudnn.version(), CUDA)
    machine = host.describe(toolkit, host.gpus()[0] if CUDA else None)
    cpu = f"{machine.cpu}, {machine.cores} cores"
    return f"{machine.label} (CPU: {cpu}), torch {machine.torch}" if CUDA else f"{cpu}, torch {machine.torch}"


def count(text: str) -> int:
    """A whole number from 1."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not allowed; allowed: a whole number from 1")
    return int(text)


def main() -> None:
    """Run the parts asked for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("parts", nargs="*", help="throughput, study (default: both)")
    parser.add_argument("--data", default="random", help="parquet:DIR, cifar10, …: 32 x 32 RGB images")
    parser.add_argument("--depth", type=int, nargs="+", default=[20])
    parser.add_argument("--rounds", type=count, default=5)
    parser.add_argument("--warm-up", type=count, default=40 if CUDA else 3)
    parser.add_argument("--steps", type=count, default=300 if CUDA else 10)
    parser.add_argument("--study-rounds", type=count, default=3)
    parser.add_argument("--full", action="store_true", help="the whole default study, once")
    for peer in SCRIPTS:
        parser.add_argument(f"--{peer}", type=Path, metavar="DIR", help="a checkout of it, to run as well")
    parser.add_argument("--output", type=Path, help="write the tables to this file too")
    chosen = parser.parse_args()
    parts = chosen.parts or ["throughput", "study"]
    for part in parts:
        if part not in ("throughput", "study"):
            parser.error(f"part {part!r} is not allowed; allowed: throughput, study")
    for peer, script in SCRIPTS.items():
        if (place := getattr(chosen, peer)) and not (place / script).is_file():
            parser.error(f"--{peer} {place}: no {script} in it")
    if chosen.output and not chosen.output.parent.is_dir():
        parser.error(f"--output {chosen.output}: no folder {chosen.output.parent}")
    try:
        for depth in chosen.depth:
            Arch(depth=depth)
        if "throughput" in parts:  # decoded and cached now, or found wanting
            epoch = len(images_of(chosen.data).train_labels) // BATCH
            if chosen.warm_up + chosen.steps > epoch:  # where the peers' own scripts would evaluate
                parser.error(f"--warm-up and --steps: at most an epoch of {chosen.data}, {epoch} steps")
    except ResbenchError as error:
        parser.error(str(error))
    texts = [f"Hardware: {hardware()}."]
    if "throughput" in parts:
        texts += [throughput(chosen, depth) for depth in chosen.depth]
    if "study" in parts:
        texts.append(study_times(chosen))
    text = "\n\n".join(texts) + "\n"
    print(text)
    if chosen.output:
        chosen.output.write_text(text)


if __name__ == "__main__":
    main()
