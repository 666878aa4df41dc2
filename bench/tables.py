"""The tables of a study's report, made from its summary."""

from __future__ import annotations

from collections.abc import Sequence

from bench import degradation, paper, run, statement
from bench.claim import COLUMNS, METRICS
from bench.paper import Published
from bench.run import TESTS
from bench.stats import Estimate
from bench.summary import Net, Summary
from bench.table import Column, Table, Value, percent, table
from bench.verdict import Verdict


def nets(summary: Summary) -> Table:
    """Every net: mean ± half-width of the 95 % interval over its seeds that are done."""
    validation = summary.held_out == "validation_error"
    errors = {"training error, %": "final_train_error"}
    errors |= {"validation error, %": "final_validation_error"} if validation else {}
    errors |= {"test error, %": "final_test_error"}
    errors |= {"test error at best validation, %": "test_error_at_best_validation"} if validation else {}
    errors |= {"best test error, %": "best_test_error"}
    errors |= {f"{METRICS[name].words}, %": name for name in TESTS if any(net.estimate(name) for net in summary.nets)}
    measured = {
        Column("images/s"): "images_per_second",
        Column("peak memory, MB", scale=1e-6): "peak_memory_bytes",
        Column("seconds a cell", 1): "wall_seconds",
    }
    columns = ["net", "n", *map(percent, errors), "parameters", "multiply-adds", *measured]
    return table(
        "nets",
        columns,
        [
            [
                net.name,
                len(net.done),
                *(net.estimate(name) for name in errors.values()),
                *(net.constant(name) for name in ("parameters", "multiply_adds")),
                *(net.estimate(name) for name in measured.values()),
            ]
            for net in summary.nets
        ],
    )


def verdicts(found: Sequence[Verdict]) -> Table:
    """Every comparison: what was claimed, what was found, and how sure that is."""
    columns = ["claim", "verdict", "compared", "left", "right", Column("difference", 2, signed=True)]
    columns += [Column("from", 2, signed=True), Column("to", 2, signed=True), "claimed", "n"]
    return table(
        "verdicts",
        [*columns, Column("p", 4), Column("exact p, unadjusted", 4)],
        [
            [
                verdict.claim.says,
                verdict.ruling,
                statement.subject(verdict),
                statement.side(verdict.left, verdict.claim),
                statement.side(verdict.right, verdict.claim, statement.published(verdict)),
                verdict.effect.mean if verdict.effect else None,
                *(verdict.interval or (None, None)),
                statement.claimed(verdict.claim),
                verdict.n,
                verdict.p,
                verdict.exact,
            ]
            for verdict in found
        ],
    )


def against_paper(summary: Summary) -> Table | None:
    """Each published figure that one of the nets has a counterpart of, and that beside it; None where none has."""
    rows = [
        _beside(net, metric, figure)
        for net in summary.nets
        for metric in METRICS
        for figure in paper.printed(net.cells[0], metric) or [paper.reproductions(net.cells[0], metric)]
        if figure and net.estimate(COLUMNS[metric, "final"])
    ]
    columns = ["net", "error", "n", percent("ours, %", 2), percent("published, %", 2)]
    columns += [percent("difference, points", 2, signed=True), "reproductions, %", "source", "recipe and data"]
    return table("paper", columns, rows) if rows else None


def _beside(net: Net, metric: str, figure: Published) -> list[Value]:
    cell, ours = net.cells[0], net.estimate(COLUMNS[metric, "final"])
    value = None if figure.value is None else figure.value / 100
    others = paper.reproductions(cell, metric)
    return [
        net.name,
        METRICS[metric].words,
        ours.n,
        ours,
        value,
        None if value is None else Estimate(ours.mean - value, ours.half_width, ours.n),
        f"{others.low:g} to {others.high:g}" if others else None,
        None if value is None else figure.label,
        "; ".join(paper.differences(cell, figure)) or "the same",
    ]


def optimisation(summary: Summary) -> Table | None:
    """How much of each deeper net's training error is a failure to optimise (section 1); None without deeper nets."""
    found = degradation.optimisation(summary.nets)
    columns = ["net", "shallower net", "n", percent("training error, %"), percent("the shallower's, %")]
    columns += [percent("excess, points", signed=True), "reaches it", Column("share that is optimisation, %", 0, 100.0)]
    rows = [
        [
            e.deep.name,
            e.shallow.name,
            e.excess.n,
            e.error,
            e.reference,
            e.excess,
            e.reached,
            e.known_share,
        ]
        for e in found
    ]
    return table("optimisation", columns, rows) if rows else None


def absent(summary: Summary) -> list[tuple[Net, str]]:
    """What is missing, failed or diverged, net by net."""
    lines = []
    for net in summary.nets:
        if net.missing:
            lines.append((net, f"{net.missing} of {len(net.cells)} seeds not run on this host"))
        if net.count(run.DONE) == len(net.rows):
            continue
        for row in net.rows[net.rows["outcome"] != run.DONE].to_dict("records"):
            why = f": {row['error']}" if isinstance(row["error"], str) else ""
            at = f" at iteration {int(row['iteration']):,}" if row["iteration"] == row["iteration"] else ""
            lines.append((net, f"seed {row['seed']} {row['outcome']}{at}{why}"))
    return lines
