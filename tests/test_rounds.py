"""Rounds: seeds are added to the nets of undecided claims alone, a look at a time, and there is always an end."""

import dataclasses
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from synthetic import a_cell, a_curve, a_host, a_run

from bench import rounds, run, seeds
from bench.claim import Claim
from bench.matrix import Matrix
from bench.store import Store
from bench.study import Study
from bench.verdict import SUPPORTED, UNDECIDED, UNTESTABLE


def a_claim(left, right, relation="above"):
    return Claim(f"{left} {relation} {right}", {"shortcut": (left,)}, {"shortcut": (right,)}, relation=relation)


def a_study(*claims):
    return Study("x", "X", "?", Matrix({}), claims, (), Path("x.toml"))


def cells_of(*shortcuts, count=3):
    return [a_cell(8, shortcut, seed) for shortcut in shortcuts for seed in range(count)]


class Lab:
    """Records made-up errors, `errors[shortcut](seed)`; stops as if killed after `patience` cells."""

    def __init__(self, folder, errors, host=None, patience=10**6):
        self.store, self.errors, self.host, self.patience = Store(folder), errors, host or a_host(), patience
        self.ran, self.said = [], []

    def run(self, wanted):
        for cell in wanted:
            if cell.id in self.store.recorded():
                continue
            if len(self.ran) == self.patience:
                raise KeyboardInterrupt
            self.ran.append(cell)
            error = self.errors[cell.arch.shortcut](cell.seed)
            outcome = error if isinstance(error, str) else run.DONE
            curve = a_curve(cell, 0.5 if isinstance(error, str) else error)[-1:]
            self.store.add_host(self.host)
            self.store.commit(cell, a_run(cell, curve, self.host, outcome=outcome), curve)
        rows = self.store.runs(cell.id for cell in wanted)["outcome"].to_pylist()
        return dict(Counter(rows))

    def until_decided(self, study, cells, most=20):
        return rounds.until_decided(study, cells, self.store, most, self.run, self.said.append)

    def seeds(self, shortcut):
        return [cell.seed for cell in self.ran if cell.arch.shortcut == shortcut]


def noisy(middle, spread=0.2):
    """Errors that go round and round the middle: no effect is ever seen in the difference of two of opposite spread."""
    return lambda seed: middle + spread * (-1) ** seed * (1 + seed % 3) / 3


ERRORS = {"none": noisy(0.5), "A": noisy(0.5, -0.2), "B": lambda seed: 0.05 + seed / 1000, "C": noisy(0.05, 0.01)}


def test_seeds_are_added_to_undecided_claims_a_look_at_a_time(tmp_path):
    lab = Lab(tmp_path, ERRORS)
    study = a_study(a_claim("none", "A"), a_claim("none", "B"))
    outcomes = lab.until_decided(study, cells_of("none", "A", "B", "C"))
    assert lab.seeds("none") == lab.seeds("A") == list(range(18))  # looks at 3, 5, 8, 12, 18; the next is at 27
    assert lab.seeds("C") == [0, 1, 2]  # in no claim
    assert len(lab.seeds("B")) < 18  # decided on the way
    assert outcomes == {"done": len(lab.ran)}
    assert lab.said[-1].endswith("no more seeds are added: the next look would take more than 20 seeds a net")
    assert len(lab.said) == 5 and lab.said[0].endswith("nets of those undecided")


@pytest.mark.parametrize(("most", "expected"), [(1, 3), (4, 3), (5, 5), (11, 8)])
def test_no_net_gets_more_seeds_than_allowed(tmp_path, most, expected):
    lab = Lab(tmp_path, ERRORS)
    lab.until_decided(a_study(a_claim("none", "A")), cells_of("none", "A"), most)
    assert lab.seeds("none") == list(range(expected))


def test_a_decided_study_gets_no_more(tmp_path):
    lab = Lab(tmp_path, {"A": lambda seed: 0.8 + seed / 1000, "B": lambda seed: 0.1 + seed / 500})
    lab.until_decided(a_study(a_claim("A", "B")), cells_of("A", "B"))
    assert len(lab.ran) == 6 and lab.said == ["1 of 1 comparisons decided; no more seeds are added: none is open"]


@pytest.mark.parametrize("patience", [0, 2, 7, 14])
def test_killed_in_a_round_it_goes_on_where_it_was(tmp_path, patience):
    study, cells, most = a_study(a_claim("none", "A")), cells_of("none", "A"), 8
    killed = Lab(tmp_path, ERRORS, patience=patience)
    with pytest.raises(KeyboardInterrupt):
        killed.until_decided(study, cells, most)
    again = Lab(tmp_path, ERRORS)
    outcomes = again.until_decided(study, cells, most)
    assert outcomes == {"done": 16}
    assert sorted(c.id for c in [*killed.ran, *again.ran]) == sorted({c.id for c in [*killed.ran, *again.ran]})
    assert {c.seed for c in [*killed.ran, *again.ran]} == set(range(8))


def test_failing_nets_come_to_an_end_and_are_tried_once_a_run(tmp_path):
    asked = Counter()

    class Failing(Lab):
        def run(self, wanted):
            asked.update(cell.id for cell in wanted)
            return super().run(wanted)

    lab = Failing(tmp_path, ERRORS | {"A": lambda seed: run.FAILED if seed == 1 else 0.5 - seed / 50})
    outcomes = lab.until_decided(a_study(a_claim("none", "A")), cells_of("none", "A"), 8)
    assert outcomes["failed"] == 1 and set(asked.values()) == {1}
    lab = Lab(tmp_path / "2", {"none": lambda _: run.FAILED, "A": lambda _: run.FAILED})
    lab.until_decided(a_study(a_claim("none", "A")), cells_of("none", "A"))
    (said,) = lab.said
    assert (
        len(lab.ran) == 6 and said == "0 of 1 comparisons decided, 1 untestable; no more seeds are added: none is open"
    )


@settings(max_examples=6, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.integers(1, 4), st.integers(1, 9), st.lists(st.floats(0.1, 0.7), min_size=9, max_size=9))
def test_it_ends_whatever_is_found(tmp_path_factory, planned, most, levels):
    errors = {s: lambda seed, k=k: round(levels[(seed + k) % 9], 3) for k, s in enumerate(("none", "A"))}
    lab = Lab(tmp_path_factory.mktemp("lab"), errors)
    lab.until_decided(a_study(a_claim("none", "A")), cells_of("none", "A", count=planned), most)
    assert len(lab.seeds("A")) <= max(planned, most) and len(lab.said) <= 5


def test_verdicts_are_of_one_host_and_name_the_others(tmp_path):
    errors = {"A": lambda seed: 0.8 + seed / 1000, "B": lambda seed: 0.1 + seed / 500}
    here, there = a_host(), a_host(cpu="Another")
    cells, study = cells_of("A", "B"), a_study(a_claim("A", "B"))
    Lab(tmp_path, errors, here).run(cells[:3])
    Lab(tmp_path, errors, there).run(cells[3:5])
    (found,), hosts = rounds.verdicts(study, cells, cells, Store(tmp_path))
    assert hosts == [here, there]
    assert (found.ruling, found.because) == (UNTESTABLE, "ResNet-8-B: 3 of 3 seeds not run")


def test_verdicts_where_nothing_is_recorded(tmp_path):
    cells = cells_of("A", "B")
    (found,), hosts = rounds.verdicts(a_study(a_claim("A", "B")), cells, cells, Store(tmp_path))
    assert hosts == [] and "3 of 3 seeds not run" in found.because


def test_verdicts_read_the_seeds_that_were_added(tmp_path):
    lab = Lab(tmp_path, ERRORS)
    study, cells = a_study(a_claim("none", "A")), cells_of("none", "A")
    lab.until_decided(study, cells, 8)
    (declared,), _ = rounds.verdicts(study, cells, cells, lab.store)
    (all_there,), _ = rounds.verdicts(study, cells, seeds.extended(cells, lab.store), lab.store)
    assert (declared.n, all_there.n) == (3, 8) and all_there.ruling == UNDECIDED
    more = dataclasses.replace(cells[0], seed=8)
    lab.run([more])  # of one side alone: no further pair
    (found,), _ = rounds.verdicts(study, cells, seeds.extended(cells, lab.store), lab.store)
    assert found.n == 8 and found.ruling != SUPPORTED
