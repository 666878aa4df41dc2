"""Pairs and verdicts, by a scripted measuring layer."""

import math
import statistics
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scripted import MB, failed, outcome, scripted
from synthetic import a_cell
from test_series import a_sample

from bench.benchmark import Benchmark
from bench.checkout import Checkout
from bench.comparison import Bout, Pair, compare, finished, most_rounds, ratios, recorded, rounds
from bench.errors import InputError
from bench.regress import Rule
from bench.ruling import FAILED, IMPROVEMENT, INCONCLUSIVE, NOT_MEASURED, REGRESSION, STEADY
from bench.sample import CALIBRATION, COMPARISON, CONFIRMATION, CPU, DEVICE, WALL
from bench.sampling import Setting

TRAIN, INFERENCE = Benchmark("train", a_cell()), Benchmark("inference", a_cell())
BASE, HEAD = (Checkout(name, None, name * 10, False, None) for name in ("base", "head"))
WOBBLE = (0.998, 1.003, 0.999, 1.001)  # of one sample after the other


def a_bout(benchmarks=(TRAIN,), pairs=8, **fields):
    return Bout(BASE, HEAD, benchmarks, Setting(windows=4), Rule(), pairs, **({"spreads": {}} | fields))


def compared(monkeypatch, script, bout=None):
    """The verdicts, by work; what was taken, by purpose; the layer."""
    layer, taken = scripted(monkeypatch, script), []
    bout = bout or a_bout()
    verdicts = compare(bout, None, lambda text: None, lambda *found: taken.append(found))  # noqa: ARG005
    assert layer.open == 0
    return {verdict.benchmark.work: verdict for verdict in verdicts}, taken, layer


def times(base=0.01, head=0.01):
    return lambda side, _, number: {"base": base, "head": head}[side] * WOBBLE[(number + (side == "head")) % 4]


# --- pairs


@given(st.lists(st.tuples(st.floats(0.1, 10), st.floats(0.1, 10)), min_size=1, max_size=12))
def test_a_ratio_is_the_median_of_neighbours_ratios(windows):
    base, head = (outcome(cpu_seconds=tuple(side)) for side in zip(*windows, strict=True))
    expected = statistics.median(math.log(h / b) for b, h in windows)
    assert Pair(0, base, head).ratio(CPU) == pytest.approx(expected)
    assert Pair(0, head, base).ratio(CPU) == pytest.approx(-expected)


def test_pairs_that_are_not_valid():
    fine, hot = outcome(), outcome(trouble="thermal slowdown for 1 s")
    cases = {
        "head failed: RuntimeError: broken": (fine, failed()),
        "base failed: RuntimeError: broken": (failed(), failed("other")),
        "thermal slowdown for 1 s": (fine, hot),
        "the GPU's clock was 1980 MHz for base and 1900 MHz for head": (
            outcome(sm_clock_mhz=1980.0),
            outcome(sm_clock_mhz=1900.0),
        ),
    }
    for trouble, sides in cases.items():
        assert (Pair(0, *sides).trouble, Pair(0, *sides).ratio(CPU)) == (trouble, None)
    near = Pair(0, outcome(sm_clock_mhz=1980.0), outcome(sm_clock_mhz=1950.0))
    unknown = Pair(0, outcome(sm_clock_mhz=1980.0), fine)
    assert near.trouble is None and unknown.trouble is None


def test_clocks_that_are_judged():
    assert Pair(0, outcome(), outcome()).clocks == (CPU, WALL)
    for clock in (WALL, DEVICE):
        assert Pair(0, outcome(clock=clock), outcome(clock=clock)).clocks == (clock,)


# --- rounds


def test_rounds_take_turns_in_fresh_processes(monkeypatch):
    _, taken, layer = compared(monkeypatch, times(), a_bout([TRAIN, INFERENCE], pairs=8))
    assert [sides for sides, work in layer.taken if work == "train"] == [("base", "head"), ("head", "base")] * 4
    assert [(purpose, number, len(found)) for purpose, number, found in taken] == [(COMPARISON, n, 2) for n in range(8)]
    assert all(len(found) == 3 and found[1].cpu_seconds != found[2].cpu_seconds for found in taken[0][2])


def test_sides_are_not_mixed_up(monkeypatch):
    _, taken, _ = compared(monkeypatch, lambda side, *_: {"base": 1.0, "head": 1.001}[side])
    for _, _, ((_, base, head),) in taken:
        assert (base.seconds, head.seconds) == pytest.approx((1.0, 1.001))


def test_invalid_pairs_are_made_up_for_with_half_as_many_more(monkeypatch):
    def script(side, _, number):
        hot = side == "head" and number in (1, 3, 4)
        return outcome(0.01 * WOBBLE[number % 4], trouble="hot" if hot else None)

    found, taken, _ = compared(monkeypatch, script)
    assert len(taken) == 11 and (found["train"].finding.pairs, found["train"].finding.invalid) == (8, 3)
    assert found["train"].ruling == STEADY and found["train"].troubles == ("hot",)
    always, taken, _ = compared(monkeypatch, lambda *_: outcome(trouble="hot"))
    assert len(taken) == most_rounds(8) == 12
    assert (always["train"].ruling, always["train"].because) == (INCONCLUSIVE, "12 of 12 pairs not valid: hot")


def test_what_fails_twice_in_a_row_is_no_longer_tried(monkeypatch):
    def script(_, benchmark, number):
        return failed() if benchmark is TRAIN and number >= 1 else 0.01

    found, _, layer = compared(monkeypatch, script, a_bout([TRAIN, INFERENCE]))
    assert [work for _, work in layer.taken].count("train") == 3 and found["inference"].ruling == STEADY


# --- verdicts


def test_the_same_code_is_no_regression(monkeypatch):
    found, taken, _ = compared(monkeypatch, times())
    verdict = found["train"]
    assert (verdict.ruling, verdict.because, verdict.worse, verdict.grew) == (STEADY, None, False, ())
    assert {purpose for purpose, _, _ in taken} == {COMPARISON}
    assert verdict.speeds == pytest.approx((3200, 3200), rel=0.01)


def test_slower_is_a_regression_and_faster_an_improvement_and_both_are_measured_again(monkeypatch):
    for head, ruling, change in ((0.011, REGRESSION, 0.1), (0.009, IMPROVEMENT, -0.1)):
        found, taken, _ = compared(monkeypatch, times(head=head))
        verdict = found["train"]
        assert (verdict.ruling, verdict.worse) == (ruling, ruling == REGRESSION)
        assert verdict.finding.confirmed is True and verdict.finding.change == pytest.approx(change, abs=0.003)
        assert [purpose for purpose, _, _ in taken] == [COMPARISON] * 8 + [CONFIRMATION] * 8


def test_only_what_changed_is_measured_again(monkeypatch):
    def script(side, benchmark, number):
        return (0.011 if side == "head" and benchmark is TRAIN else 0.01) * WOBBLE[(number + (side == "head")) % 4]

    found, taken, _ = compared(monkeypatch, script, a_bout([TRAIN, INFERENCE]))
    assert {b.work for purpose, _, sides in taken for b, *_ in sides if purpose == CONFIRMATION} == {"train"}
    assert (found["train"].ruling, found["inference"].ruling) == (REGRESSION, STEADY)


def test_a_slowdown_not_seen_again_is_none(monkeypatch):
    def script(side, _, number):
        return (0.011 if side == "head" and number < 8 else 0.01) * WOBBLE[(number + (side == "head")) % 4]

    verdict = compared(monkeypatch, script)[0]["train"]
    assert (verdict.ruling, verdict.worse, verdict.finding.confirmed) == (STEADY, False, False)
    assert verdict.because == "a change was seen, and not again in fresh pairs"


@pytest.mark.parametrize("side", ["base", "head"])
@pytest.mark.parametrize("in_preparing", [True, False])
def test_fresh_pairs_that_all_fail_leave_it_open(monkeypatch, side, in_preparing):
    """Whatever the failure left unsaid of the clock."""

    def script(at, _, number):
        if number >= 8 and at == side:
            return failed(clock=WALL if in_preparing else CPU)
        return (0.011 if at == "head" else 0.01) * WOBBLE[(number + (at == "head")) % 4]

    verdict = compared(monkeypatch, script)[0]["train"]
    assert verdict.ruling == INCONCLUSIVE and not verdict.worse
    assert "neither confirm" in verdict.because or "head failed" in verdict.because


def test_waiting_is_caught(monkeypatch):
    """CPU time is the same, the wall's clock says it is slower."""

    def script(side, _, number):
        wobble = WOBBLE[(number + (side == "head")) % 4]
        return outcome(0.01 * wobble, waits=0.002 * wobble if side == "head" else 0.0)

    verdict = compared(monkeypatch, script)[0]["train"]
    assert (verdict.ruling, verdict.worse) == (REGRESSION, True)
    assert verdict.because == "it waits: its CPU time did not grow so"
    assert verdict.finding.change == pytest.approx(0.2, abs=0.01)


def test_failed_in_head_alone_is_worse_and_never_a_pass(monkeypatch):
    verdict = compared(monkeypatch, lambda side, *_: failed() if side == "head" else 0.01)[0]["train"]
    assert (verdict.ruling, verdict.worse, verdict.finding) == (FAILED, True, None)
    assert verdict.because == "head failed: RuntimeError: broken"
    assert verdict.base_seconds == 0.01 and verdict.head_seconds is None and verdict.speeds == (3200, None)


def test_failed_in_head_now_and_then_is_no_pass_either(monkeypatch):
    def script(side, _, number):
        return failed() if side == "head" and number in (2, 5) else 0.01 * WOBBLE[(number + (side == "head")) % 4]

    verdict = compared(monkeypatch, script)[0]["train"]
    assert (verdict.ruling, verdict.because) == (INCONCLUSIVE, "head failed in 2 of 10 pairs, and base in none")

    def both(_, __, number):
        return failed() if number == 2 else 0.01 * WOBBLE[number % 4]

    assert compared(monkeypatch, both)[0]["train"].ruling == STEADY  # as base does


def test_not_measured_on_base_or_on_both(monkeypatch):
    for broken in (("base",), ("base", "head")):
        script = lambda side, *_, broken=broken: failed("needs bf16", "refused") if side in broken else 0.01  # noqa: E731
        verdict = compared(monkeypatch, script)[0]["train"]
        assert (verdict.ruling, verdict.worse) == (NOT_MEASURED, False)
        assert verdict.because == "base failed: needs bf16"


def test_grown_memory_is_worse_beside_an_equal_time(monkeypatch):
    def script(side, _, number):
        more = 10 * MB if side == "head" else 0
        return outcome(0.01 * WOBBLE[number % 4], peak_rss_bytes=300 * MB + more)

    verdict = compared(monkeypatch, script)[0]["train"]
    assert (verdict.ruling, verdict.worse, [q.name for q in verdict.grew]) == (STEADY, True, ["resident memory"])


def test_a_noisy_hosts_margin_is_wider(monkeypatch):
    noisy = a_bout(spreads={(TRAIN.id, CPU): 0.2, (TRAIN.id, WALL): 0.2})
    verdict = compared(monkeypatch, times(head=0.0105), noisy)[0]["train"]
    assert verdict.ruling == STEADY and verdict.finding.margin > 0.1
    assert compared(monkeypatch, times(head=0.0105))[0]["train"].ruling == REGRESSION


def test_an_injected_slowdown_is_heads(monkeypatch):
    verdict = compared(monkeypatch, times(), a_bout(slowdown=0.1))[0]["train"]
    assert verdict.ruling == REGRESSION and verdict.finding.change == pytest.approx(0.1, abs=0.005)


# --- a calibration's comparisons


def samples_of(run, number, pairs=5, started=0, benchmarks=(TRAIN,), sides=("base", "head")):
    """Samples of a comparison: for each round and benchmark the two sides' seconds, or None for a failure."""
    made = []
    for at, both in enumerate(run):
        for benchmark in benchmarks:
            for side in sides:
                seconds = both[("base", "head").index(side)]
                place = {"side": side, "pair": number * most_rounds(pairs) + at, "purpose": CALIBRATION}
                sample = a_sample(started, seconds or 1.0, benchmark=benchmark, measured="m", **place)
                made.append(sample if seconds else replace(sample, outcome=failed()))
    return made


def test_what_was_recorded_is_what_was_measured(monkeypatch):
    layer_rounds = []

    def script(side, benchmark, number):
        return (1 + 0.01 * number + 0.002 * (side == "head")) * (2.0 if benchmark is TRAIN else 1.0)

    scripted(monkeypatch, script)
    bout = a_bout([TRAIN, INFERENCE], pairs=5)
    found = list(rounds(bout, bout.benchmarks, "x", None, print, lambda *taken: layer_rounds.append(taken)))
    direct = ratios({b.id: [pair for of, pair in found if of is b] for b in bout.benchmarks})
    samples = [
        replace(a_sample(0, 1.0, benchmark=b, measured="m", side=side, pair=7 + number, purpose=CALIBRATION), outcome=o)
        for _, number, sides in layer_rounds
        for b, *both in sides
        for side, o in zip(("base", "head"), both, strict=True)
    ]
    ((number, run),) = recorded(samples, bout.benchmarks, 5)
    assert number == 1 and ratios(run) == direct


def test_comparisons_that_were_stopped_are_taken_again():
    good, bad = [(1.0, 1.01)] * 5, [(1.0, 2.0)] * 3
    samples = samples_of(good, 0) + samples_of(bad, 1)
    assert [number for number, _ in recorded(samples, [TRAIN], 5)] == [0]
    again = samples + samples_of(good, 1, started=1)
    runs = recorded(again, [TRAIN], 5)
    assert [number for number, _ in runs] == [0, 1]
    assert ratios(runs[1][1])[TRAIN.id, CPU] == pytest.approx([math.log(1.01)] * 5)  # and nothing of the stopped one
    assert [number for number, _ in recorded(samples, [TRAIN, INFERENCE], 5)] == []


def test_a_pair_stopped_between_its_sides_is_none():
    samples = samples_of([(1.0, 1.0)] * 5, 0) + samples_of([(1.0, 1.0)] * 4, 1)
    half = samples_of([(1.0, 1.0)] * 5, 1, sides=("base",))[-1:]
    assert [number for number, _ in recorded(samples + half, [TRAIN], 5)] == [0]


def test_finished_with_enough_or_without_hope():
    def taken(text):
        """. valid, x failed, h hot"""
        sides = {".": outcome(), "x": failed(), "h": outcome(trouble="hot")}
        return [Pair(at, outcome(), sides[each]) for at, each in enumerate(text)]

    cases = {
        "": False,
        "....": False,
        ".....": True,
        "h....": False,
        "h.....": True,
        ".xx": True,
        "x.x": False,
        "hhhhhhh": True,
    }
    assert {text: finished(taken(text), 5) for text in cases} == cases


@pytest.mark.parametrize(("theirs", "ours"), [(6, 5), (5, 6), (12, 6), (6, 12), (12, 5), (5, 20)])
def test_comparisons_of_another_number_of_pairs_are_refused(theirs, ours):
    samples = [s for number in range(4) for s in samples_of([(1.0, 1.0)] * theirs, number, pairs=theirs)]
    with pytest.raises(InputError, match=f"not of {ours} pairs"):
        recorded(samples, [TRAIN], ours)
    assert len(recorded(samples, [TRAIN], theirs)) == 4
