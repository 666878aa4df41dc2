"""What comparisons of twice as many pairs are worth: those of a recorded calibration, two and two together.

PYTHONPATH=. python tests/perf/joined.py results/reference 90acb534144e 'work=train|inference' 6 [MARGIN]
"""

import sys
from argparse import Namespace
from pathlib import Path

from bench import calibration, comparison, selection, study
from bench.history import History
from bench.regress import Rule
from bench.sample import CALIBRATION


def main(results: str, measurement: str, only: str, pairs: str, margin: str = "2") -> None:
    """Print a line of rates for each benchmark and clock."""
    chosen = selection.benchmarks(Namespace(only=only), study.load(study.find("throughput-short")))
    samples = [s for s in History(Path(results)).samples(CALIBRATION) if s.taking.measurement_id == measurement]
    runs = [comparison.ratios(run) for _, run in comparison.recorded(samples, chosen, int(pairs))]
    joined = [{key: [*one[key], *two[key]] for key in one} for one, two in zip(runs[::2], runs[1::2], strict=False)]
    found = calibration.rates(joined, Rule(margin=float(margin) / 100), calibration.spreads(runs))
    labels = {benchmark.id: benchmark.label for benchmark in chosen} | {"any": "any of them"}
    for (name, clock), rates in found.items():
        powers = ", ".join(f"{s:.0%} {p:.0%}" for s, p in zip(calibration.SLOWDOWNS, rates.powers, strict=True))
        print(f"{labels[name]} ({clock}): {rates.alarms} of {rates.runs} called a regression; found: {powers}")


if __name__ == "__main__":
    main(*sys.argv[1:])
