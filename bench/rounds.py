"""Running a study in rounds: its own seeds first, then more for the claims that are still undecided."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence

from bench import looks, seeds
from bench.cell import Cell
from bench.host import Host
from bench.store import Store
from bench.study import Study
from bench.summary import summaries, unrecorded
from bench.verdict import UNDECIDED, UNTESTABLE, Verdict, judge, sides

MOST_SEEDS = 20  # a net gets, unless told otherwise


def verdicts(
    study: Study, cells: Sequence[Cell], recorded: Sequence[Cell], store: Store
) -> tuple[list[Verdict], list[Host]]:
    """The verdicts on a study's claims by the runs of one host, and the hosts with runs, that one first.

    `cells` are those the study plans, `recorded` those to read, further seeds included. Where nothing is recorded,
    every claim is untestable and there is no host.

    Raises:
        StoreError: when the tables cannot be read.
    """
    found = summaries(recorded, store) if store.recorded().intersection(cell.id for cell in recorded) else []
    nets = found[0].nets if found else unrecorded(cells)
    return judge(study.claims, nets, seeds.planned(cells)), [summary.host for summary in found]


def until_decided(
    study: Study,
    cells: Sequence[Cell],
    store: Store,
    most_seeds: int,
    run: Callable[[Sequence[Cell]], dict[str, int]],
    say: Callable[[str], None],
) -> dict[str, int]:
    """Run the study, then look at its claims, and add seeds to the nets of those undecided, a look at a time.

    Ends when every claim is decided or untestable, or the next look would take more than `most_seeds` seeds a net.
    Looks are those of `looks.schedule`, whose error rate holds under this repeated looking. `run` sweeps cells, each
    asked for once, and returns how many ended in each way; so does this, for all cells, those added included.

    Raises:
        StoreError: when the tables cannot be read; and whatever `run` raises.
    """
    wanted = seeds.extended(cells, store)
    plan = seeds.planned(cells)
    outcomes = Counter(run(wanted))
    while True:
        latest = max(summaries(wanted, store), key=lambda summary: summary.runs["finished"].max())
        found = judge(study.claims, latest.nets, plan)
        undecided = [verdict for verdict in found if verdict.ruling == UNDECIDED]
        more = list(dict.fromkeys(_next_cells(undecided, wanted, plan, most_seeds)))
        say(_progress(found, undecided, more, most_seeds))
        if not more:
            return dict(outcomes)
        outcomes += Counter(run(more))
        wanted += more


def _next_cells(
    undecided: Sequence[Verdict], present: Sequence[Cell], plan: seeds.Plan, most_seeds: int
) -> Iterator[Cell]:
    there = seeds.planned(present)
    for verdict in undecided:
        nets = [side.net for side in sides(verdict)]
        planned = min(len(plan[net]) for net in nets)
        look = looks.next_look(planned, min(len(there[net]) for net in nets))
        if look <= most_seeds:
            for side in sides(verdict):
                yield from seeds.added(side, there[side.net], look)


def _progress(found: Sequence[Verdict], undecided: Sequence[Verdict], more: Sequence[Cell], most_seeds: int) -> str:
    untestable = sum(verdict.ruling == UNTESTABLE for verdict in found)
    decided = f"{len(found) - len(undecided) - untestable} of {len(found)} comparisons decided"
    decided += f", {untestable} untestable" if untestable else ""
    if more:
        nets = len({cell.net for cell in more})
        return f"{decided}; {len(more)} cells more for {nets} nets of those undecided"
    why = f"the next look would take more than {most_seeds} seeds a net" if undecided else "none is open"
    return f"{decided}; no more seeds are added: {why}"
