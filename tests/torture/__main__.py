"""`make torture`: hundreds of faults, seeded, at random moments; nothing may be lost, doubled or changed by any."""

from __future__ import annotations

import argparse
import random
import signal
import sys
import tempfile
import threading
import time
import traceback
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from torture import faults
from torture.scene import Scene, Violation, small_disk

from bench.arguments import count
from bench.host import cores, cpu_model
from bench.run import provenance

STOP = threading.Event()


class Campaign:
    """Faults until there are enough, in one study after another."""

    def __init__(self, number: int, seed: int, place: Path, reference: dict, wanted: int) -> None:
        self.number, self.place, self.reference, self.wanted = number, place, reference, wanted
        self.rng = random.Random(f"{seed}-{number}")
        self.injected: Counter[str] = Counter()
        self.ends: Counter[tuple[str, str]] = Counter()
        self.studies = 0

    def run(self) -> None:
        """Inject, check, begin anew where a study is complete.

        Raises:
            Violation: with the fault after which something did not hold.
        """
        with small_disk(self.place / f"disk-{self.number}") as disk:
            while sum(self.injected.values()) < self.wanted and not STOP.is_set():
                self._study(disk)

    def _study(self, disk: Path | None) -> None:
        desk = self.place / f"desk-{self.number}"
        desk.mkdir(exist_ok=True)
        scene = Scene((disk or desk) / "scene", desk, self.reference, self.rng, disk)
        history: list[str] = []
        aftermath = self.rng.randrange(4)  # what a complete study goes through besides
        while (not scene.complete or aftermath) and not STOP.is_set():
            kinds, weights = zip(*faults.available(complete=scene.complete), strict=True)
            (fault,) = self.rng.choices(kinds, weights)
            aftermath -= scene.complete and aftermath > 0
            history.append(fault.__name__)
            try:
                how = fault(scene)
                scene.check()
            except Violation as violation:
                raise Violation(f"campaign {self.number}, {' → '.join(history)}: {violation}") from None
            if how:
                self.injected[fault.__doc__ or ""] += 1
                self.ends[fault.__doc__ or "", how] += 1
            print(
                f"{self.number}: {sum(self.injected.values())} {fault.__name__}: {how or 'nothing to do it to'}; "
                f"{len(scene.known)} done",
                flush=True,
            )
        if STOP.is_set():
            return
        try:
            scene.check_end()
        except Violation as violation:
            raise Violation(f"campaign {self.number}, {' → '.join(history)}: {violation}") from None
        self.studies += 1
        faults.cleared(scene)


def main() -> int:
    """Run the campaigns side by side, and table what was survived."""
    parser = argparse.ArgumentParser(prog="make torture", description=__doc__)
    parser.add_argument("--faults", type=count(1), default=500, help="at least, for studies are run to their end")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--jobs", type=count(1), default=2)
    parser.add_argument("--record", type=Path, help="a Markdown file whose table between two marks is replaced")
    options = parser.parse_args()
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="torture-") as folder:
        place = Path(folder)
        undisturbed = Scene(place / "undisturbed", place, {}, random.Random(0))
        ended = undisturbed.run()
        if ended.code:
            print(ended.said)
            return 1
        reference = undisturbed.facts()
        each = -(-options.faults // options.jobs)
        campaigns = [Campaign(n, options.seed, place, reference, each) for n in range(options.jobs)]
        signal.signal(signal.SIGINT, lambda *_: STOP.set())  # after the fault under way
        with ThreadPoolExecutor(options.jobs) as pool:
            failed = [error for error in pool.map(_outcome, campaigns) if error]
    minutes = (time.monotonic() - began) / 60
    table = _table(campaigns, options.seed, minutes, failed)
    print(table)
    if options.record and not failed:
        _record(options.record, table)
    return 1 if failed else 0


def _outcome(campaign: Campaign) -> str | None:
    try:
        campaign.run()
    except Violation as violation:
        print(f"VIOLATION: {violation}", file=sys.stderr, flush=True)
        return str(violation)
    except Exception as error:  # of the torture itself, or of reading what is left
        traceback.print_exc()
        return repr(error)
    return None


def _table(campaigns: list[Campaign], seed: int, minutes: float, failed: list[str]) -> str:
    injected: Counter[str] = sum((c.injected for c in campaigns), Counter())
    ends: Counter[tuple[str, str]] = sum((c.ends for c in campaigns), Counter())
    studies = sum(c.studies for c in campaigns)
    lines = ["| fault | injected | and then |", "|---|---:|---|"]
    for fault, times in sorted(injected.items(), key=lambda item: -item[1]):
        how = ", ".join(
            f"{word} ({n})" for (name, word), n in sorted(ends.items(), key=lambda e: -e[1]) if name == fault
        )
        lines.append(f"| {fault} | {times} | {how} |")
    lines.append(
        f"| **all** | **{sum(injected.values())}** | {studies} studies of 6 cells ended complete and bit-identical |"
    )
    verdict = f"{len(failed)} violations" if failed else "no violation"
    lines.append(f"\nSeed {seed}, {len(campaigns)} campaigns side by side, {minutes:.0f} min: {verdict}. {_where()}")
    return "\n".join(lines)


def _where() -> str:
    code = provenance()
    commit = f"commit {code.commit[:7]}{' with changes' if code.dirty else ''}" if code.commit else "no commit"
    machine = f"{cpu_model()}, {cores()} cores, torch {code.torch_version}, Python {code.python_version}"
    return f"Of {commit}, on {machine}."


BEGIN, END = "<!-- torture: written by make torture -->", "<!-- end of torture -->"


def _record(path: Path, table: str) -> None:
    text = path.read_text()
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    path.write_text(f"{before}{BEGIN}\n{table}\n{END}{after}")


if __name__ == "__main__":
    sys.exit(main())
