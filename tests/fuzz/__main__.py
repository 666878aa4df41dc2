"""Fuzzing for as long as wanted: `python -m fuzz [TARGET …] [--seconds 60] [--coverage]`, from tests/.

Each target in a process of its own, by hypothesis's damages of valid files; with --coverage by libFuzzer (atheris),
which keeps what reaches new code. Says of each how many inputs it had and what it found; exits with 1 where that is
anything. What was found lies in `--found`, a file an input.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
import time
import warnings
from hashlib import sha256
from pathlib import Path

INSTRUMENTED = ["bench", "tarfile", "tomllib", "json", "PIL"]
GRACE = 120  # seconds beyond those asked for, after which a process is one that hangs


def main() -> int:
    """Fuzz each target; 0 where nothing was found, else 1."""
    options = _options()
    if options.one:
        warnings.simplefilter("ignore")  # of damaged images
        run = _covered if options.coverage else _damaged
        return run(options.targets[0], options.seconds, options.found)
    from fuzz.targets import TARGETS

    ended = [_process(name, options) for name in options.targets or TARGETS]
    return 1 if any(ended) else 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="fuzz", description=__doc__.splitlines()[0])
    parser.add_argument("targets", nargs="*", metavar="TARGET")
    parser.add_argument("--seconds", type=float, default=60.0, help="for each target")
    parser.add_argument("--coverage", action="store_true", help="by libFuzzer, with coverage")
    parser.add_argument("--found", type=Path, default=Path("fuzz-found"), help="a folder")
    parser.add_argument("--one", action="store_true", help=argparse.SUPPRESS)
    return parser.parse_args()


def _process(name: str, options: argparse.Namespace) -> int:
    """Fuzz one target in a process, and say how it ended."""
    words = [sys.executable, "-m", "fuzz", name, "--one", "--seconds", str(options.seconds), "--found", options.found]
    words += ["--coverage"] if options.coverage else []
    try:
        done = subprocess.run(words, capture_output=True, text=True, timeout=options.seconds + GRACE, errors="replace")
    except subprocess.TimeoutExpired:
        print(f"{name}: hangs", flush=True)
        return 1
    said = done.stdout + done.stderr
    counts = re.findall(r"(?:Done |#)(\d+)", said)
    print(
        f"{name}: {counts[-1] if counts else 0} inputs, {'nothing found' if not done.returncode else 'FOUND:'}",
        flush=True,
    )
    if done.returncode:
        print(said[-3000:], flush=True)
    return done.returncode


def _damaged(name: str, seconds: float, found: Path) -> int:
    from fuzz.mutations import damaged
    from fuzz.targets import TARGETS
    from hypothesis import HealthCheck, Phase, given, settings
    from hypothesis import strategies as st

    target, end, count, last = TARGETS[name], time.monotonic() + seconds, 0, b""
    seeds = damaged(target.seeds())

    @settings(
        max_examples=1000,
        deadline=None,
        database=None,
        suppress_health_check=list(HealthCheck),
        phases=[Phase.generate, Phase.shrink],
    )
    @given(st.one_of(seeds, seeds, seeds, st.binary(max_size=4000)))
    def holds(data: bytes) -> None:
        nonlocal count, last
        if time.monotonic() < end:
            count, last = count + 1, data
            target(data)

    try:
        while time.monotonic() < end:
            holds()
    except Exception:
        found.mkdir(parents=True, exist_ok=True)
        (found / f"{name}-{sha256(last).hexdigest()[:12]}").write_bytes(last)
        raise
    finally:
        print(f"Done {count}", flush=True)
    return 0


def _covered(name: str, seconds: float, found: Path) -> int:
    import atheris
    import torch  # noqa: F401 - before, for it is large

    for name_of_part in ("tarfile", "tomllib"):  # which others have imported
        sys.modules.pop(name_of_part, None)

    with atheris.instrument_imports(include=INSTRUMENTED):
        from fuzz.targets import TARGETS

    target, corpus = TARGETS[name], found / "corpus" / name
    corpus.mkdir(parents=True, exist_ok=True)
    for seed in target.seeds():
        (corpus / sha256(seed).hexdigest()[:12]).write_bytes(seed)
    limits = [f"-max_total_time={seconds:.0f}", "-max_len=65536", "-timeout=30", "-rss_limit_mb=4096"]
    atheris.Setup([name, *limits, f"-artifact_prefix={found}/{name}-", str(corpus)], lambda data: target(data) and None)
    atheris.Fuzz()
    return 0


if __name__ == "__main__":
    sys.exit(main())
