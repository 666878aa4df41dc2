"""What verdicts are worth: rates of false and of missed ones on simulated studies, tabled in docs/statistics.md.

`make statistics` runs it; the tables come out the same, byte for byte.
"""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path

import numpy as np

from bench.store import replacing
from bench.trials import (
    FARTHEST,
    FEW_TRIALS,
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
BEGIN, END = "<!-- tables: `make statistics` writes them -->\n", "<!-- end of tables -->"
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
    rule_line = ["---"] * text_columns + ["--:"] * (len(head) - text_columns)
    return "".join(f"| {' | '.join(map(str, row))} |\n" for row in (head, rule_line, *rows))


def _fixed(relation: str, n: int, distance: int, claims: int) -> Experiment:
    """θ lies `distance` standard deviations inside the region that is claimed; 0: on its edge, the claim just false."""
    if relation == "within":
        margin, theta = (distance, 0) if distance else (3, 3)
    else:
        margin, theta = (0, distance) if relation == "above" else (3, 3 - distance)
    return Experiment(
        (a_claim(relation, margin),) * claims,
        partial(normal, theta=theta),
        n,
        n,
        trials=TRIALS if claims == 1 else FEW_TRIALS,
    )


def once(pool: ProcessPoolExecutor) -> str:
    """Table 1: false and true verdicts with the seeds declared, one claim and four."""
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
    head = ["claims", "relation", "n", "any falsely supported", "any contradicted on the edge", "1 σ", "2 σ", "3 σ"]
    return _table(head, rows, 2)


def studies(pool: ProcessPoolExecutor) -> str:
    """Table 2: studies of four claims, of which some hold, or which share a side."""
    kinds = {
        "none holds, independent": (normal, 4),
        "none holds, one right side for all": (shared, 4),
        "one just false, three hold by 3 σ": (partial(normal, theta=(0, 3, 3, 3)), 1),
        "two just false, two hold by 3 σ": (partial(normal, theta=(0, 0, 3, 3)), 2),
    }
    keys = [(kind, n) for kind in kinds for n in SEEDS]
    found = pool.map(
        simulate, [Experiment((a_claim(),) * 4, kinds[kind][0], n, n, trials=FEW_TRIALS) for kind, n in keys]
    )
    rows = []
    for (kind, n), outcome in zip(keys, found, strict=True):
        rows.append([kind, n, _any(outcome, SUPPORTED, slice(kinds[kind][1]))])
    return _table(["four claims", "n", "any of the false ones supported"], rows, 1)


def repeated(pool: ProcessPoolExecutor) -> str:
    """Table 3: seeds added until a claim is decided, and what repeated testing without spending does."""
    keys = [(claims, theta) for claims in (1, 4) for theta in (0.0, 0.5, 1.0, 2.0)]
    found = pool.map(
        simulate,
        [
            Experiment((a_claim(),) * c, partial(normal, theta=t), FIRST, MOST, trials=TRIALS if c == 1 else FEW_TRIALS)
            for c, t in keys
        ],
    )
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
    """Table 4: claims just false where the assumptions fail."""
    plans = [*((n, n, False) for n in SEEDS), (FIRST, MOST, False), (5, 5, True), (10, 10, True)]
    keys = [(kind, relation) for kind in UNRULY for relation in ("above", "not above")]
    experiments = []
    for kind, relation in keys:
        draw, theta, paired = UNRULY[kind]
        claims = (a_claim(relation, theta),)
        experiments += [
            Experiment(claims, draw, first, most, paired, exact, FEW_TRIALS) for first, most, exact in plans
        ]
    found = pool.map(simulate, experiments)
    rows = []
    for kind, relation in keys:
        outcomes = [next(found) for _ in plans]
        exact = [rate(float(o.exact.mean()), o.exact.size) for o in outcomes[4:]]
        if not UNRULY[kind][2]:  # too many permutations to count
            exact[-1] = "–"
        rows.append([kind, relation, *(_share(o, SUPPORTED) for o in outcomes[:4]), *exact])
    head = ["values", "relation", *(f"n = {n}" for n in SEEDS), f"until decided, {FIRST} to {MOST}"]
    return _table([*head, "n = 5, exact p ≤ 5 % too", "n = 10, exact p ≤ 5 % too"], rows, 2)


def forecasts(pool: ProcessPoolExecutor) -> str:
    """Table 5: whether "about N more seeds would probably decide it" was so."""
    keys = [(n, theta) for n in SEEDS for theta in (0.5, 1.0, 2.0)]
    rows = []
    for (n, theta), found in zip(keys, pool.map(forecast, *zip(*keys, strict=True)), strict=True):
        count, said = len(found.more), sorted(m if m is not None else math.inf for m in found.more)
        middle = f"{said[count // 2]:,}" if count and said[count // 2] < math.inf else "over 1,000"
        enough = rate(float(np.mean(found.enough)), len(found.enough)) if found.enough else "–"
        followed = rate(len(found.enough) / count, count) if count else "–"
        rows.append([n, f"{theta:g}", rate(count / found.trials, found.trials), middle, followed, enough])
    return _table(["n", "θ, σ", "undecided", "median N", f"N ≤ {FARTHEST}", "of these, decided within N more"], rows, 0)


def main() -> None:
    """Write the tables into the page, between its markers."""
    began = time.monotonic()
    before, _, rest = PAGE.read_text().partition(BEGIN)
    _, _, after = rest.partition(END)
    with ProcessPoolExecutor() as pool:
        tables = [f"\n**{make.__doc__.rstrip('.')}**\n\n{make(pool)}" for make in TABLES]
    with replacing(PAGE) as temporary:
        temporary.write_text(f"{before}{BEGIN}{''.join(tables)}\n{END}{after}")
    print(f"{PAGE}: {len(TABLES)} tables, {time.monotonic() - began:.0f} s", file=sys.stderr)


TABLES = (once, studies, repeated, unruly, forecasts)

if __name__ == "__main__":
    main()
