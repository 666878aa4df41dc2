"""The commands that compare from end to end, by a scripted measuring layer."""

import json
import random
import re
import subprocess
import sys
from xml.etree import ElementTree

import pytest
from conftest import ROOT
from scripted import STUDY, WOBBLE, bad, benchmarks, failed, on, outcome, scripted, side_of, this_host, times

from bench.cli import main
from bench.history import History
from bench.sample import CALIBRATION, COMPARISON, CONFIRMATION


def compare(place, *more):
    study = ("--study", place / "speed.toml", "--device", "cpu", "--results", place / "results", "--windows", "4")
    return main(list(map(str, ("compare", place / "base", place / "head", *study, "--pairs", "6", *more))))


# --- compare


def test_compare_of_equal_code(place, monkeypatch, capsys):
    layer = scripted(monkeypatch, times())
    assert compare(place) == 0
    text = capsys.readouterr().out
    assert "2 no regression" in text and "Not calibrated on this host" in text and layer.open == 0
    samples = History(place / "results").samples()
    assert len(samples) == 2 * 2 * 6 and {s.taking.purpose for s in samples} == {COMPARISON}
    assert {s.taking.side for s in samples} == {"base", "head"} and {s.taking.pair for s in samples} == set(range(6))
    assert len({s.taking.measurement_id for s in samples}) == 1


def test_compare_finds_what_is_slower_and_writes_it_everywhere(place, monkeypatch, capsys):
    scripted(monkeypatch, times(head=0.0115, works=("train",)))
    files = {kind: place / "out" / f"found.{kind}" for kind in ("markdown", "junit", "json")}
    assert compare(place, *(word for kind, path in files.items() for word in (f"--{kind}", path))) == 1
    text = capsys.readouterr().out
    assert "1 regression, 1 no regression" in text and "✘ regression" in text
    assert files["markdown"].read_text().startswith("### ✘ ")
    suite = ElementTree.parse(files["junit"]).getroot()
    assert [case.find("*").tag for case in suite] == ["failure", "system-out"]
    found = json.loads(files["json"].read_text())
    assert found["exit_code"] == 1 and found["study"] == "speed" and found["rule"]["pairs"] == 6
    train, inference = found["verdicts"]
    assert (train["ruling"], train["worse"], inference["ruling"]) == ("regression", True, "no regression")
    assert train["finding"]["change"] == pytest.approx(0.15, abs=0.005) and train["finding"]["confirmed"] is True
    assert found["host"]["id"] == this_host().id
    samples = History(place / "results").samples(CONFIRMATION)
    assert {s.benchmark.work for s in samples} == {"train"} and len(samples) == 12


def test_compare_says_how_to_do_it_again_as_a_shell_reads_it(place, monkeypatch, capsys):
    scripted(monkeypatch, times())
    assert (
        compare(place, "--only", "work=train|inference", "--set", "batch=[16, 32]", "--threads", "2", "--pairs", "7")
        == 0
    )
    again = re.search("^Again: (.*)$", capsys.readouterr().out, re.MULTILINE).group(1)
    words = subprocess.run(["bash", "-c", f"printf '%s\\n' {again}"], capture_output=True, text=True, check=True).stdout
    assert words.splitlines() == [
        *("resbench", "compare", str(place / "base"), str(place / "head"), "--study", str(place / "speed.toml")),
        *("--set", "batch=[16, 32]", "--only", "work=train|inference", "--results", str(place / "results")),
        *("--device", "cpu", "--threads", "2", "--pairs", "7", "--windows", "4", "--margin", "2"),
    ]


@pytest.mark.parametrize(
    ("script", "code"),
    [
        (lambda name, *_: failed() if side_of(name) == "head" else 0.01, 1),
        (lambda name, *_: failed() if side_of(name) == "base" else 0.01, 4),
        (lambda *_: failed("needs a GPU", "refused"), 4),
        (lambda name, b, _: failed() if b.work == "train" and side_of(name) == "base" else 0.01, 3),
        (lambda *_: outcome(trouble="thermal slowdown for 1 s"), 3),
        (lambda name, _, n: outcome(0.01 * WOBBLE[n % 4], parameters=1001 if side_of(name) == "head" else 1000), 1),
        (times(head=0.008), 0),
    ],
    ids=["head fails", "base fails", "both fail", "base fails in part", "all invalid", "more parameters", "faster"],
)
def test_exit_codes_of_compare(place, monkeypatch, capsys, script, code):
    scripted(monkeypatch, script)
    assert compare(place, "--junit", place / "found.xml", "--markdown", place / "found.md") == code
    ElementTree.parse(place / "found.xml")
    assert "Traceback" not in capsys.readouterr().err


def test_a_hostile_failure_is_no_markup(place, monkeypatch):
    why = "E: <img src=x> | \x1b[31m` \x00 **b**"
    scripted(monkeypatch, lambda name, *_: failed(why) if side_of(name) == "head" else 0.01)
    assert compare(place, "--junit", place / "j", "--markdown", place / "m", "--json", place / "o") == 1
    ElementTree.parse(place / "j")
    json.loads((place / "o").read_text())
    text = (place / "m").read_text()
    assert "\\<img src=x\\>" in text and "<img" not in text.replace("\\<img", "")


# --- bad input


@pytest.mark.parametrize("command", ["measure", "compare", "gate", "calibrate", "accept"])
def test_bad_studies_and_selections(place, monkeypatch, capsys, command):
    layer = scripted(monkeypatch, times())
    (place / "nets.toml").write_text(STUDY.replace('[bench]\nwork = ["train", "inference"]\n', ""))
    (place / "nothing.toml").write_text(STUDY.replace('work = ["train", "inference"]\n', ""))

    def at(study, *more):
        before = [command, place / "base", place / "head", "--study"] if command == "compare" else [command]
        return *before, study, "--results", place / "results", *(("--note", "x") if command == "accept" else ()), *more

    study = place / "speed.toml"
    bad(capsys, "no study 'nonsense': neither a file nor one of those in ablations/", *at("nonsense"))
    bad(capsys, "has no [bench] table", *at(place / "nets.toml"))
    bad(capsys, "[bench]: work = 'nothing' is not allowed; allowed: train,", *at(place / "nothing.toml"))
    bad(capsys, "--only work=nonsense: work = 'nonsense' is not allowed", *at(study, "--only", "work=nonsense"))
    bad(capsys, "--only work: must be KEY=VALUE", *at(study, "--only", "work"))
    bad(capsys, "--only work=decoding: no benchmark of speed matches", *at(study, "--only", "work=decoding"))
    bad(capsys, "no benchmark of speed matches", *at(study, "--only", "seed=0"))
    bad(capsys, "--only deep=8: ", *at(study, "--only", "deep=8"))
    bad(capsys, "[matrix]: depth = 9 is not allowed", *at(study, "--set", "depth=9"))
    assert layer.taken == [] and not (place / "results").exists()


@pytest.mark.parametrize("command", ["run", "judge", "slices"])
def test_a_study_of_benchmarks_trains_nothing(place, capsys, command):
    bad(capsys, "times benchmarks and trains no nets", command, place / "speed.toml", "--results", place / "results")


@pytest.mark.parametrize(
    ("more", "expected"),
    [
        (("--margin", "nonsense"), "'nonsense': a number of percent above 0 and below 100"),
        (("--margin", "0"), "above 0"),
        (("--margin", "nan"), "above 0"),
        (("--pairs", "4"), "from 5 to 40"),
        (("--pairs", "5"), "--pairs 5: cannot show that one of 2 is slower; at least 6"),
        (("--windows", "3"), "from 4"),
        (("--threads", "0"), "from 1"),
    ],
)
def test_bad_options_of_compare(place, monkeypatch, capsys, more, expected):
    layer = scripted(monkeypatch, times())
    arguments = ("compare", place / "base", place / "head", "--study", place / "speed.toml", "--device", "cpu", *more)
    bad(capsys, expected, *arguments, "--results", place / "results")
    assert layer.taken == []


@pytest.mark.parametrize("option", ["--markdown", "--junit", "--json"])
def test_files_that_cannot_be_written_are_told_before_anything_is_measured(place, monkeypatch, capsys, option):
    layer = scripted(monkeypatch, times())
    (place / "file").touch()
    study = ("--device", "cpu", "--results", place / "results")
    for path, why in ((place / "file" / "x", "cannot be written"), (place / "base", "it is a folder")):
        for command in (("compare", place / "base", place / "head", "--study"), ("gate",)):
            bad(capsys, f"{path}: cannot be written", *command, place / "speed.toml", *study, option, path)
            assert why
    assert layer.taken == []


@pytest.mark.parametrize("side", [0, 1])
def test_a_checkout_that_is_none(place, monkeypatch, capsys, side):
    scripted(monkeypatch, times())
    study = ("--study", place / "speed.toml", "--device", "cpu", "--results", place / "results")
    for wrong, why in (
        ("n0pe", "neither a commit of this git repository nor a folder"),
        (place, "no checkout of resbench"),
    ):
        sides = [place / "base", place / "head"]
        sides[side] = wrong
        bad(capsys, why, "compare", *sides, *study)


def test_a_results_folder_that_is_none_is_told_before_anything_is_measured(place, monkeypatch, capsys):
    layer = scripted(monkeypatch, times())
    (place / "results").touch()
    assert compare(place) == 5 and layer.taken == []
    assert capsys.readouterr().err.count("\n") == 1


def test_a_gpu_that_is_not_there(place, monkeypatch, capsys):
    scripted(monkeypatch, times())
    monkeypatch.setattr("bench.slots.host.gpus", lambda: [])
    arguments = ("measure", place / "speed.toml", "--results", place / "results", "--device", "cuda")
    bad(capsys, "--device cuda", *arguments)


# --- calibrate


def noisy(seed):
    """A script whose noise depends on which sample it is alone, so that a resumed calibration sees the same."""

    def script(name, benchmark, number):  # noqa: ARG001
        return 0.01 * (1 + random.Random(f"{seed}{benchmark.work}{number}").gauss(0, 0.004))

    return script


def calibrate(place, *more):
    return on(place, "calibrate", "--pairs", "6", "--runs", "4", *more)


def test_calibrate_records_and_tells_and_compare_shows_it(place, monkeypatch, capsys):
    scripted(monkeypatch, noisy(1))
    assert calibrate(place, "--markdown", place / "c.md") == 0
    history = History(place / "results")
    found = {(c.benchmark_id, c.clock): c for c in history.calibrations()}
    ids = [b.id for b in benchmarks(place)]
    assert set(found) == {(name, clock) for name in ids for clock in ("cpu", "wall")} | {("any", "any")}
    assert all((c.runs, c.alarms, c.pairs, c.margin) == (4, 0, 6, 0.02) for c in found.values())
    assert found[ids[0], "cpu"].spread == pytest.approx(0.004 * 2**0.5, rel=0.4)
    assert found[ids[0], "cpu"].powers[-1] == 1.0 and found["any", "any"].spread is None
    assert len(history.samples(CALIBRATION)) == 4 * 6 * 2 * 2
    text = capsys.readouterr().out
    assert "any of them" in text and "4 comparisons of equal code, of 6 pairs each" in text
    assert (place / "c.md").read_text().startswith("| benchmark |")
    scripted(monkeypatch, times())
    assert compare(place) == 0
    text = capsys.readouterr().out
    assert "Calibrated on this host" in text and "0 false alarms in 16 verdicts on equal code" in text
    assert compare(place, "--margin", "3") == 0
    assert "Not calibrated with 6 pairs and a margin of 3.00% on this host" in capsys.readouterr().out


def test_a_calibrated_hosts_noise_widens_the_margin(place, monkeypatch, capsys):
    def very(name, benchmark, number):  # noqa: ARG001
        return 0.01 * (1.2 if number % 3 == 0 and "." not in name else 1 + 0.3 * (number * 7919 % 11 - 5) / 5)

    scripted(monkeypatch, very)
    assert calibrate(place) == 0
    scripted(monkeypatch, times(head=0.0103))
    assert compare(place, "--json", place / "o") == 0
    assert all(v["finding"]["margin"] > 0.03 for v in json.loads((place / "o").read_text())["verdicts"])
    capsys.readouterr()


def rows(place):
    """What a calibration gave, but for its own id and time."""
    mine = ("calibration_id", "started")
    return [{k: v for k, v in vars(c).items() if k not in mine} for c in History(place / "results").calibrations()]


def test_a_resumed_calibration_equals_an_uninterrupted_one(place, monkeypatch, capsys):
    """Stopped in the third comparison, between the two sides of a pair: half of it is written."""
    whole = place / "whole"
    whole.mkdir()
    (whole / "speed.toml").write_text(STUDY)
    steady = lambda name, benchmark, number: 0.01 * (1.1 if benchmark.work == "train" else 1)  # noqa: E731, ARG005
    layer = scripted(monkeypatch, steady)
    assert calibrate(whole) == 0
    rounds = len(layer.taken)

    layer = scripted(monkeypatch, steady)
    add, parts = History.add, []

    def stopping(self, samples):
        parts.append(samples)
        if len(parts) == 2 * (2 * 6 + 3) + 2:
            raise KeyboardInterrupt
        add(self, samples)

    monkeypatch.setattr(History, "add", stopping)
    capsys.readouterr()
    assert calibrate(place) == 130
    told = re.search("--resume (\\w+)", capsys.readouterr().err).group(1)
    monkeypatch.setattr(History, "add", add)
    assert rows(place) == []
    before = len(layer.taken)
    assert calibrate(place, "--resume", told) == 0
    assert len(layer.taken) - before == rounds / 2  # the third is taken again, the fourth for the first time
    assert rows(place) == rows(whole)
    assert calibrate(place, "--resume", told) == 0 and len(layer.taken) - before == rounds / 2  # nothing is left to do
    assert rows(place) == rows(whole) * 2


def test_what_cannot_be_resumed(place, monkeypatch, capsys):
    scripted(monkeypatch, noisy(1))
    assert calibrate(place) == 0
    told = re.search("--resume (\\w+)", capsys.readouterr().err).group(1)
    study = ("calibrate", place / "speed.toml", "--results", place / "results", "--device", "cpu")
    for other, resumed, why in (
        (("--pairs", "6", "--windows", "4"), "n0pe", "no calibration in"),
        (("--pairs", "7", "--windows", "4"), told, "its comparisons are not of 7 pairs"),
        (("--pairs", "6", "--windows", "5"), told, "measured elsewhere or otherwise; repeat its --threads"),
        (("--pairs", "6", "--windows", "4", "--threads", "2"), told, "measured elsewhere or otherwise"),
        (("--pairs", "6", "--windows", "4", "--inject", "5"), told, "measured elsewhere or otherwise"),
    ):
        bad(capsys, f"--resume {resumed}: {why}", *study, *other, "--resume", resumed)


def test_an_injected_slowdown_is_found_and_no_later_comparison_takes_it_for_noise(place, monkeypatch, capsys):
    scripted(monkeypatch, noisy(2))
    assert calibrate(place, "--inject", "5") == 0
    found = History(place / "results").calibrations()
    assert all(c.alarms == c.runs == 4 and c.injected == 0.05 for c in found)
    assert all(c.spread < 0.02 for c in found if c.spread is not None)
    assert "head slower by 5.0% on purpose" in capsys.readouterr().out
    assert {s.taking.injected for s in History(place / "results").samples() if s.taking.side == "head"} == {0.05}
    scripted(monkeypatch, times())
    assert compare(place) == 0
    assert "Not calibrated on this host" in capsys.readouterr().out


def test_calibrate_where_something_or_nothing_is_measured(place, monkeypatch, capsys):
    scripted(monkeypatch, lambda name, b, n: failed() if b.work == "train" else 0.01 * WOBBLE[n % 4])  # noqa: ARG005
    assert calibrate(place) == 0
    assert "train ResNet-8-A, batch 128, digits: not measured: base failed: RuntimeError" in capsys.readouterr().out
    assert {c.benchmark_id for c in History(place / "results").calibrations()} == {benchmarks(place)[1].id, "any"}
    scripted(monkeypatch, lambda *_: failed())
    assert calibrate(place) == 4


# --- all of them


def test_help_imports_none_of_the_heavy():
    code = (
        "import sys\nfrom bench.cli import main\n"
        "for command in ([], ['measure'], ['compare'], ['gate'], ['accept'], ['calibrate'], ['run']):\n"
        "    try: main([*command, '--help'])\n"
        "    except SystemExit as ended: assert ended.code == 0\n"
        "heavy = {'torch', 'pandas', 'pyarrow', 'numpy', 'scipy'} & set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    found = subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT, capture_output=True, text=True)
    for words in (
        "compare the speed and memory",
        "exit codes: 0 no regression; 1 a regression",
        "resbench accept --only",
    ):
        assert words in found.stdout
