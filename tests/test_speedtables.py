"""What tables and lines of verdicts say."""

import json
from datetime import UTC, datetime

import pytest
from scripted import MB, outcome
from synthetic import a_cell, a_host
from test_gate import a_history, ruled
from test_series import a_sample

from bench import speedtables
from bench.benchmark import Benchmark
from bench.comparison import Verdict
from bench.history import Calibration
from bench.quantity import Quantity
from bench.regress import Finding, Rule
from bench.ruling import FAILED, REGRESSION, STEADY
from bench.series import Point

TRAIN, INFERENCE = Benchmark("train", a_cell()), Benchmark("inference", a_cell())


def a_verdict(ruling=STEADY, finding=True, benchmark=TRAIN, **fields):
    found = Finding(ruling, 12, 1, 0.02, 0.05, 0.04, 0.06, 0.001, 1.0, True) if finding else None
    return Verdict(benchmark, ruling, fields.pop("because", None), found, 0.01, 0.0105, 32, **fields)


def test_a_comparisons_row_and_line():
    grown = Quantity("allocated memory", (10 * MB, 10 * MB), (11 * MB, 11 * MB))
    verdict = a_verdict(REGRESSION, quantities=(grown, Quantity("parameters", (5, 5), (5, 5))), troubles=("hot",))
    (row,) = speedtables.compared([verdict]).rows
    assert row == (
        *(TRAIN.label, "✘ regression", 3200.0, pytest.approx(3047.6, abs=0.1), 0.05, 0.04, 0.06, 0.02),
        *("12, 1 invalid", "allocated memory 10.0 → 11.0 MB (+10.0%)"),
    )
    (line,) = speedtables.of_comparison([verdict])
    assert line.sentence == (
        "regression; slower by +5.00% (at least +4.00%, at most +6.00%; margin 2.00%, 12 pairs); hot; "
        "allocated memory 10.0 → 11.0 MB (+10.0%)"
    )
    assert (line.because, line.worse, line.details["benchmark"]) == ("hot", True, TRAIN.id)
    json.dumps(line.details)


def test_a_verdict_without_a_finding():
    verdict = a_verdict(FAILED, finding=False, because="head failed: x", troubles=("head failed: x",))
    (row,) = speedtables.compared([verdict]).rows
    assert row[4:] == (None,) * 6
    (line,) = speedtables.of_comparison([verdict])
    assert (line.sentence, line.because) == ("failed; head failed: x", "head failed: x")  # told once
    assert "–" in speedtables.compared([verdict]).text()


def test_a_gates_row_and_line():
    level = ruled(a_history((0.01, 30)), 0.011, again=0.011)
    (row,) = speedtables.gated([level]).rows
    assert row[1] == "✘ regression" and row[2:4] == pytest.approx((3200, 3200 / 1.1), rel=0.01) and row[7] == 30
    (line,) = speedtables.of_gate([level])
    assert line.sentence.startswith("regression; slower by +") and "flagged above" in line.sentence
    assert line.details["finding"]["kind"] == "regression" and line.details["confirmed"] is True
    assert "ruling" not in line.details  # the line's own
    json.dumps(line.details)
    few = speedtables.of_gate([ruled(None, 0.01)])[0]
    assert few.sentence == "inconclusive; the first point of its history: reported only"


def test_what_was_measured():
    samples = [a_sample(0, seconds) for seconds in (0.01, 0.02, 0.04)]
    found = speedtables.measured([Point(tuple(samples)), Point(tuple(samples[:1]))])
    first, second = found.rows
    assert first[:6] == (TRAIN.label, 1600.0, 800.0, 3200.0, 0.02, 100.0 * MB) and first[9] == 3
    assert second[9] == 1 and second[0] == TRAIN.label


def a_calibration(benchmark, clock="cpu", **fields):
    plain = {
        **{"calibration_id": "c", "benchmark_id": benchmark.id, "clock": clock, "host_id": "h", "device": "cpu"},
        **{"threads": 1, "pairs": 12, "windows": 12, "window_seconds": 0.1, "runs": 50, "margin": 0.02},
        **{"injected": 0.0, "spread": 0.01, "alarms": 0, "low": 0.0, "high": 0.071},
        **{"resampled": 0.0, "slowdowns": (0.02, 0.05)},
        **{"powers": (0.1, 0.9), "commit": None, "started": datetime(2026, 1, 1, tzinfo=UTC)},
    }
    return Calibration(**(plain | fields))


def trust(*found, verdicts=(a_verdict(), a_verdict(benchmark=INFERENCE)), rule=Rule(), pairs=12):  # noqa: B008
    known = {(c.benchmark_id, c.clock): c for c in found}
    return speedtables.trust(known, verdicts, a_host(), rule, pairs)


def test_what_verdicts_are_worth():
    found = [a_calibration(TRAIN), a_calibration(INFERENCE, powers=(0.4, 1.0), alarms=1, high=0.1)]
    text = trust(*found)
    assert "1 false alarms in 100 verdicts" in text and "at most 10.0% each, 95 %" in text
    assert text.endswith(
        "from the benchmark that tells worst to the one that tells best: 2% 10 to 40 %, 5% 90 to 100 %."
    )
    assert "1 of 2 benchmarks" in trust(found[0]) and text.count("benchmarks") == 0


def test_powers_are_those_of_the_clock_that_judges_work():
    found = [a_calibration(TRAIN), a_calibration(TRAIN, "wall", powers=(0.0, 0.2))]
    assert trust(*found, verdicts=[a_verdict()]).endswith("2% 10 %, 5% 90 %.")
    assert trust(found[1], verdicts=[a_verdict()]).endswith("2% 0 %, 5% 20 %.")


def test_other_calibrations_say_nothing_of_these_verdicts():
    assert trust().startswith("Not calibrated on this host")
    assert trust(a_calibration(Benchmark("train", a_cell(depth=14)))).startswith("Not calibrated on this host")
    other = trust(a_calibration(TRAIN), pairs=6)
    assert other.startswith("Not calibrated with 6 pairs and a margin of 2.00% on this host")
    assert trust(a_calibration(TRAIN), rule=Rule(margin=0.01)).startswith(
        "Not calibrated with 12 pairs and a margin of 1"
    )


def test_a_calibrations_table():
    noisy = a_calibration(INFERENCE, spread=0.1)
    found = [a_calibration(TRAIN), noisy, a_calibration(TRAIN, spread=None, benchmark_id="any", clock="any")]
    table = speedtables.calibrated(found, {TRAIN.id: "train", INFERENCE.id: "inference", "any": "any of them"})
    assert [column.head for column in table.columns][-2:] == ["2% found, %", "5% found, %"]
    assert [row[3] for row in table.rows] == [0.02, Rule().margin_on(0.1, 12), 0.02]
    assert "any of them" in table.text()
    assert outcome().images_per_second == 3200
