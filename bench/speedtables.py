"""Tables and lines of what was measured, compared, calibrated and gated."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict

from bench.bulletin import Line
from bench.comparison import Verdict
from bench.gate import Level
from bench.history import Calibration
from bench.host import Host
from bench.quantity import Quantity
from bench.regress import Key, Rule
from bench.ruling import marked
from bench.sample import CPU, WALL
from bench.series import Point
from bench.table import Column, Table, percent, table


def compared(verdicts: Sequence[Verdict]) -> Table:
    """A row a benchmark: images a second on both sides, by how much head takes longer, its bounds, n."""
    columns = [
        Column("benchmark"),
        Column("verdict"),
        Column("base, images/s"),
        Column("head, images/s"),
        percent("slower by, %", 2, signed=True),
        percent("at least, %", 2, signed=True),
        percent("at most, %", 2, signed=True),
        percent("margin, %", 2),
        Column("pairs"),
        Column("memory, sizes"),
    ]
    rows = []
    for verdict in verdicts:
        finding = verdict.finding
        bounds = [finding.change, finding.low, finding.high, finding.margin] if finding else [None] * 4
        pairs = finding and (f"{finding.pairs}, {finding.invalid} invalid" if finding.invalid else str(finding.pairs))
        rows.append(
            [
                verdict.benchmark.label,
                marked(verdict.ruling),
                *verdict.speeds,
                *bounds,
                pairs,
                _sizes(verdict.quantities),
            ]
        )
    return table("comparison", columns, rows)


def _sizes(quantities: Sequence[Quantity]) -> str | None:
    changed = "; ".join(quantity.described for quantity in quantities if quantity.described)
    return changed or ("same" if quantities else None)


def of_comparison(verdicts: Sequence[Verdict]) -> list[Line]:
    """A comparison's verdicts, for a bulletin."""
    return [_line(verdict) for verdict in verdicts]


def _line(verdict: Verdict) -> Line:
    told = [verdict.because, *(trouble for trouble in verdict.troubles if trouble != verdict.because)]
    because = "; ".join(filter(None, told)) or None
    parts = [verdict.ruling]
    if (finding := verdict.finding) and finding.change is not None:
        parts.append(
            f"slower by {finding.change:+.2%} (at least {finding.low:+.2%}, at most {finding.high:+.2%}; margin "
            f"{finding.margin:.2%}, {finding.pairs} pairs)"
        )
    grown = [quantity.described for quantity in verdict.quantities]
    return Line(
        label=verdict.benchmark.label,
        ruling=verdict.ruling,
        worse=verdict.worse,
        sentence="; ".join(filter(None, [*parts, because, *grown])),
        because=because,
        seconds=verdict.head_seconds,
        details={
            "benchmark": verdict.benchmark.id,
            "base_seconds": verdict.base_seconds,
            "head_seconds": verdict.head_seconds,
            "images": verdict.images,
            "finding": asdict(finding) if finding else None,
            "quantities": [quantity.plain() for quantity in verdict.quantities],
            "troubles": list(verdict.troubles),
        },
    )


def gated(levels: Sequence[Level]) -> Table:
    """A row a benchmark: now and at its level, how far it is out of line, how many points say so."""
    columns = [
        Column("benchmark"),
        Column("verdict"),
        Column("level, images/s"),
        Column("now, images/s"),
        percent("slower by, %", 2, signed=True),
        Column("z", 1, signed=True),
        percent("flagged above, %", 1, signed=True),
        Column("points"),
        Column("memory, sizes"),
    ]
    rows = []
    for level in levels:
        ruling = level.ruling
        numbers = [ruling.effect, ruling.z, ruling.limit, ruling.n] if ruling else [None] * 4
        rows.append([level.benchmark.label, marked(level.word), *level.speeds, *numbers, _sizes(level.quantities)])
    return table("gate", columns, rows)


def of_gate(levels: Sequence[Level]) -> list[Line]:
    """A gate's levels, for a bulletin."""
    return [_gate_line(level) for level in levels]


def _gate_line(level: Level) -> Line:
    parts = [level.word]
    if (ruling := level.ruling) and ruling.effect is not None:
        above = "" if ruling.threshold is None else f", flagged above {ruling.threshold:.1f}"
        parts.append(f"slower by {ruling.effect:+.2%} than its level (z {ruling.z:+.1f}{above}; {ruling.n} points)")
    grown = [quantity.described for quantity in level.quantities]
    return Line(
        label=level.benchmark.label,
        ruling=level.word,
        worse=level.worse,
        sentence="; ".join(filter(None, [*parts, level.because, *grown])),
        because=level.because,
        seconds=level.seconds,
        details={
            "benchmark": level.benchmark.id,
            "seconds": level.seconds,
            "finding": asdict(ruling) if ruling else None,
            "confirmed": level.confirmed,
            "open": asdict(level.open) if level.open else None,
            "quantities": [quantity.plain() for quantity in level.quantities],
        },
    )


def measured(points: Sequence[Point]) -> Table:
    """A row a benchmark: speed with its range over processes, memory, what of the device it uses."""
    columns = [
        Column("benchmark"),
        Column("images/s"),
        Column("lowest"),
        Column("highest"),
        Column("ms a call", 3, 1000.0),
        Column("memory, MB", 1, 1e-6),
        percent("of matrix rate, %"),
        percent("of bandwidth, %"),
        Column("J/1,000 images", 1),
        Column("processes"),
        Column("in words"),
    ]
    rows = []
    for point in points:
        outcomes = [sample.outcome for sample in point.samples]
        speeds = sorted(speed for outcome in outcomes if (speed := outcome.images_per_second))
        last = outcomes[-1]
        memory = last.memory_bytes
        odd = dict.fromkeys(o.trouble or ("not steady" if o.steady is False else None) for o in outcomes)
        rows.append(
            [
                point.samples[0].name,
                point.images_per_second,
                speeds[0] if speeds else None,
                speeds[-1] if speeds else None,
                point.seconds,
                None if memory is None else float(memory),
                last.arithmetic_share,
                last.bandwidth_share,
                last.joules_per_1000_images,
                len(outcomes),
                "; ".join(filter(None, odd)) or None,
            ]
        )
    return table("throughput", columns, rows)


def calibrated(found: Sequence[Calibration], names: Mapping[str, str]) -> Table:
    """A row a benchmark: how noisy it is, how often equal code was called regressed, how often slowdowns are found."""
    columns = [
        Column("benchmark"),
        Column("clock"),
        percent("spread of a pair, %", 2),
        percent("margin, %", 2),
        Column("comparisons"),
        Column("called a regression"),
        percent("rate at most, %"),
        percent("resampled, %", 2),
        *(percent(f"{slowdown:.0%} found, %", 0) for slowdown in found[0].slowdowns),
    ]
    rows = []
    for c in found:
        margin = Rule(margin=c.margin).margin_on(c.spread, c.pairs)
        rows.append(
            (names[c.benchmark_id], c.clock, c.spread, margin, c.runs, c.alarms, c.high, c.resampled, *c.powers)
        )
    return table("calibration", columns, rows)


def trust(known: Mapping[Key, Calibration], verdicts: Sequence[Verdict], host: Host, rule: Rule, pairs: int) -> str:
    """What is known of such verdicts on this host, of so many pairs each."""
    judged = {verdict.benchmark.id for verdict in verdicts}
    found = {key: calibration for key, calibration in known.items() if key[0] in judged}
    alike = {key: c for key, c in found.items() if (c.pairs, c.margin) == (pairs, rule.margin)}
    if not alike:
        other = f"with {pairs} pairs and a margin of {rule.margin:.2%} " if found else ""
        return f"Not calibrated {other}on this host ({host.id}): resbench calibrate tells what such verdicts are worth."
    names = {name for name, _ in alike}
    alarms, runs = sum(c.alarms for c in alike.values()), sum(c.runs for c in alike.values())
    powers: dict[float, list[float]] = {}
    for (name, clock), c in alike.items():
        if clock != WALL or (name, CPU) not in alike:  # the wall's clock beside CPU time finds who waits, not who works
            for slowdown, share in zip(c.slowdowns, c.powers, strict=True):
                powers.setdefault(slowdown, []).append(share)
    found_at = ", ".join(f"{slowdown:.0%} {_range(shares)}" for slowdown, shares in sorted(powers.items()))
    covered = f", {len(names)} of {len(judged)} benchmarks" if len(names) < len(judged) else ""
    return (
        f"Calibrated on this host ({host.id}{covered}): {alarms} false alarms in {runs} verdicts on equal code (a rate "
        f"of at most {max(c.high for c in alike.values()):.1%} each, 95 %); slowdowns found, from the benchmark that "
        f"tells worst to the one that tells best: {found_at}."
    )


def _range(shares: Sequence[float]) -> str:
    low, high = (f"{100 * share:.0f}" for share in (min(shares), max(shares)))
    return f"{low} %" if low == high else f"{low} to {high} %"
