"""What verdicts are worth: rates of false and of missed ones on simulated studies, tabled in docs/statistics.md.

`make statistics` runs it; the tables come out the same, byte for byte.
"""

from __future__ import annotations

import math
import re
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path

import numpy as np

from bench.parts import replacing
from bench.trials import (
    FARTHEST,
    FIRST,
    MOST,
    TRIALS,
    UNRULY,
    Experiment,
    Outcome,
    a_claim,
    forecast,
    naive,
    normal,
    shared,
    simulate,
)
from bench.verdict import CONTRADICTED, SUPPORTED, UNDECIDED

PAGE = Path("docs/statistics.md")
SEEDS = (3, 5, 10)


def rate(share: float, trials: int) -> str:
    """A share in percent ± its binomial standard error: `2.4 ± 0.2`."""
    return f"{100 * share:.1f} ± {100 * math.sqrt(share * (1 - share) / trials):.1f}"


def _share(outcome: Outcome, word: str) -> str:
    return rate(float(np.mean(outcome.words == word)), outcome.words.size)


def _any(outcome: Outcome, word: str, claims: slice = slice(None)) -> str:
    found = (outcome.words[:, claims] == word).any(axis=1)
    return rate(float(found.mean()), found.size)


def _table(head: Sequence[str], rows: Sequence[Sequence[object]], text_columns: int) -> str:
    line = ["---"] * text_columns + ["--:"] * (len(head) - text_columns)
    text = "".join(f"| {' | '.join(map(str, row))} |\n" for row in (head, line, *rows))
    return f"{text}\n{TRIALS:,} simulated studies a row; rates in percent ± their binomial standard error.\n"


def _fixed(relation: str, n: int, distance: int, claims: int) -> Experiment:
    """θ lies `distance` standard deviations inside the region that is claimed; 0: on its edge."""
    if relation == "within":
        margin, theta = (distance, 0) if distance else (3, 3)
    else:
        margin, theta = (0, distance) if relation == "above" else (3, 3 - distance)
    return Experiment((a_claim(relation, margin),) * claims, partial(normal, theta=theta), n, n)


def once(pool: ProcessPoolExecutor) -> str:
    """Verdicts with the seeds declared, on one claim and on four: θ on the edge of the claim, then inside it."""
    keys = [(c, r, n) for c in (1, 4) for r in ("above", "not above", "within") for n in SEEDS]
    found = pool.map(simulate, [_fixed(r, n, d, c) for c, r, n in keys for d in range(4)])
    rows = []
    for claims, relation, n in keys:
        edge, *others = (next(found) for _ in range(4))
        shares = [
            " / ".join(f"{100 * np.mean(o.words == w):.1f}" for w in (SUPPORTED, UNDECIDED, CONTRADICTED))
            for o in others
        ]
        rows.append([claims, relation, n, _any(edge, SUPPORTED), _any(edge, CONTRADICTED), *shares])
    head = ["claims", "relation", "n", "edge: any supported", "edge: any contradicted", "1 σ", "2 σ", "3 σ"]
    return _table(head, rows, 2)


def studies(pool: ProcessPoolExecutor) -> str:
    """Four claims, of which some hold, or which share a side."""
    kinds = {
        "none holds, independent": (normal, 4),
        "none holds, one right side for all": (shared, 4),
        "one just false, three hold by 3 σ": (partial(normal, theta=(0, 3, 3, 3)), 1),
        "two just false, two hold by 3 σ": (partial(normal, theta=(0, 0, 3, 3)), 2),
    }
    keys = [(kind, n) for kind in kinds for n in SEEDS]
    found = pool.map(simulate, [Experiment((a_claim(),) * 4, kinds[kind][0], n, n) for kind, n in keys])
    rows = []
    for (kind, n), outcome in zip(keys, found, strict=True):
        rows.append([kind, n, _any(outcome, SUPPORTED, slice(kinds[kind][1]))])
    return _table(["four claims", "n", "any of the false ones supported"], rows, 1)


def repeated(pool: ProcessPoolExecutor) -> str:
    """Seeds added until a claim is decided, and repeated testing that does not share its error rate out."""
    keys = [(claims, theta) for claims in (1, 4) for theta in (0.0, 0.5, 1.0, 2.0)]
    found = pool.map(simulate, [Experiment((a_claim(),) * c, partial(normal, theta=t), FIRST, MOST) for c, t in keys])
    rows = [
        [f"{c} claim{'s' if c > 1 else ''}", f"{t:g}", _any(o, SUPPORTED), _any(o, CONTRADICTED), _share(o, SUPPORTED),
         _share(o, UNDECIDED), f"{o.seeds.mean():.1f}"]
        for (c, t), o in zip(keys, found, strict=True)
    ]  # fmt: skip
    for every, name in ((False, "naive, at the same looks"), (True, "naive, at every seed")):
        supported, contradicted = naive(every, 0.0)
        shares = [rate(supported, TRIALS), rate(contradicted, TRIALS), rate(supported, TRIALS)]
        rows.append([name, "0", *shares, rate(1 - supported - contradicted, TRIALS), "–"])
    head = ["", "θ, σ", "any supported", "any contradicted", "supported, a claim", "undecided, a claim", "mean seeds"]
    return _table(head, rows, 1)


def unruly(pool: ProcessPoolExecutor) -> str:
    """Claims on the edge where the assumptions fail."""
    plans = [*((n, n, n > FIRST) for n in SEEDS), (FIRST, MOST, False)]
    keys = [(kind, relation) for kind in UNRULY for relation in ("above", "not above")]
    experiments = []
    for kind, relation in keys:
        draw, theta, paired = UNRULY[kind]
        claims = (a_claim(relation, theta),)
        experiments += [Experiment(claims, draw, first, most, paired, exact) for first, most, exact in plans]
    found = pool.map(simulate, experiments)
    rows = []
    for kind, relation in keys:
        outcomes = [next(found) for _ in plans]
        exact = [rate(float(o.exact.mean()), o.exact.size) for o in outcomes[1:3]]
        if not UNRULY[kind][2]:  # too many permutations to count
            exact[-1] = "–"
        rows.append([kind, relation, *(_share(o, SUPPORTED) for o in outcomes), *exact])
    head = ["values", "relation", *(f"n = {n}" for n in SEEDS), f"until decided, {FIRST} to {MOST}"]
    return _table([*head, "n = 5, exact p ≤ 5 % too", "n = 10, exact p ≤ 5 % too"], rows, 2)


def forecasts(pool: ProcessPoolExecutor) -> str:
    """Whether "about N more seeds would probably decide it" was so."""
    keys = [(n, theta) for n in SEEDS for theta in (0.5, 1.0, 2.0)]
    rows = []
    for (n, theta), found in zip(keys, pool.map(forecast, *zip(*keys, strict=True)), strict=True):
        count, said = len(found.more), sorted(m if m is not None else math.inf for m in found.more)
        middle = "–" if not count else f"{said[count // 2]:,}" if said[count // 2] < math.inf else "over 1,000"
        enough = rate(float(np.mean(found.enough)), len(found.enough)) if found.enough else "–"
        followed = rate(len(found.enough) / count, count) if count else "–"
        rows.append([n, f"{theta:g}", rate(count / TRIALS, TRIALS), middle, followed, enough])
    return _table(["n", "θ, σ", "undecided", "median N", f"N ≤ {FARTHEST}", "of these, decided within N more"], rows, 0)


def written(page: str, tables: dict[str, str]) -> str:
    """The page with each table in its place, between `<!-- table: NAME -->` and `<!-- end -->`."""
    for name, table in tables.items():
        place = re.compile(f"(<!-- table: {name} -->\n).*?(<!-- end -->)", re.DOTALL)
        page, count = place.subn(lambda found, table=table: f"{found[1]}\n{table}\n{found[2]}", page)
        assert count == 1, f"{PAGE} has {count} places for table {name}"
    return page


def main() -> None:
    """Write the tables into the page."""
    began = time.monotonic()
    with ProcessPoolExecutor() as pool:
        tables = {make.__name__: make(pool) for make in (once, studies, repeated, unruly, forecasts)}
    page = written(PAGE.read_text(), tables)
    with replacing(PAGE) as temporary:
        temporary.write_text(page)
    print(f"{PAGE}: {len(tables)} tables, {time.monotonic() - began:.0f} s", file=sys.stderr)


if __name__ == "__main__":
    main()
