"""The command line as a user types it: answers, exit codes, and never a traceback."""

import json
import os
import signal
import subprocess
import sys
from argparse import Namespace

import pytest
from conftest import ROOT
from synthetic import a_curve, a_host, a_run

from bench import cli, sweep
from bench import study as study_module
from bench.cli import main
from bench.errors import EXIT_OK
from bench.store import Store


def resbench(*arguments, **more):
    """Run the command in a process of its own, in the repository."""
    return subprocess.run(
        [sys.executable, "-m", "bench.cli", *map(str, arguments)], capture_output=True, text=True, cwd=ROOT, **more
    )


def test_help_of_every_command_has_examples(capsys):
    for command in ([], ["run"], ["slices"], ["report"], ["judge"], ["net"], ["data"]):
        if command:
            with pytest.raises(SystemExit) as ended:
                main([*command, "--help"])
            assert ended.value.code == 0
        else:
            assert main([]) == 0
        text = capsys.readouterr().out
        assert "examples:" in text and "resbench" in text


def test_help_and_plans_import_no_torch():
    code = (
        "import sys\nfrom bench.cli import main\n"
        "assert main([]) == 0\n"
        "try: main(['run', 'degradation', '--set', 'depth=9', '--dry-run'])\n"
        "except SystemExit: pass\n"
        "assert 'torch' not in sys.modules and 'pandas' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT, capture_output=True)


@pytest.mark.parametrize(
    ("arguments", "depth", "shortcut", "family", "parameters"),
    [
        (["--depth", "56", "--shortcut", "A"], 56, "A", "cifar", 853_018),
        (["--depth", "110", "--shortcut", "C"], 110, "C", "cifar", 1_826_202),
        (["--depth", "50", "--shortcut", "B", "--family", "imagenet"], 50, "B", "imagenet", 25_557_032),
    ],
)
def test_net_as_json(capsys, arguments, depth, shortcut, family, parameters):
    assert main(["net", *arguments, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    expected = {"depth": depth, "shortcut": shortcut, "family": family, "parameters": parameters}
    assert {key: found[key] for key in expected} == expected
    assert found["multiply_adds"] > 1e6


def test_data_describes(capsys):
    assert main(["data", "digits"]) == 0
    text = capsys.readouterr().out
    assert "training images: 1,497, of which a holdout takes 300" in text and "1 x 8 x 8 pixels, 10 classes" in text


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (
            ["net", "--depth", "57"],
            "depth = 57 is not allowed; allowed: 6n+2 in the cifar family; the nearest: 56 and 62",
        ),
        (["net", "--depth", "20", "--shortcut", "D"], "none, A, B, C"),
        (["net", "--depth", "20", "--width", "nan"], "width"),
        (["net", "--depth", "20", "--size", "9" * 9], "size"),
        (["data", "cifra10"], "digits, cifar10"),
        (["data", "parquet:/nowhere/at/all"], "nowhere"),
        (["run", "nothing"], "no study 'nothing'"),
        (["run", "degradation", "--only", "depth=7"], "no cell of degradation matches"),
        (["run", "degradation", "--only", "depth"], "KEY=VALUE"),
        (["run", "degradation", "--only", "dept=8"], "did you mean 'depth'"),
        (["run", "degradation", "--set", "depth=57"], "56 and 62"),
        (["run", "degradation", "--set", "iterations=ten"], "--set iterations=ten: iterations = 'ten' is not allowed"),
        (["run", "degradation", "--set", "itrations=57"], "did you mean 'iterations'"),
        (["run", "degradation", "--name", "../x"], "--name"),
        (["run", "degradation", "--device", "cuda", "--dry-run"], "--device cuda"),
        (["slices", "degradation", "--results", "/nowhere"], "plain-8, seed 0 is not recorded in /nowhere"),
        (["slices", "degradation", "--only", "depth=7"], "no cell of degradation matches"),
        (["report", "degradation", "--results", "/nowhere"], "no run of degradation is recorded"),
        (["judge", "nothing"], "no study 'nothing'"),
        (["judge", "degradation", "--only", "depth=7"], "no cell of degradation matches"),
        (["run", "degradation", "--max-seeds", "9"], "--max-seeds: only with --until-decided"),
        (["run", "degradation", "--machine", "NVIDIA H200"], "--machine: only with --dry-run"),
        (["run", "degradation", "--price", "2.5"], "--price: only with --dry-run"),
        (["run", "degradation", "--devices", "3"], "seed 0 has batch = 32, no multiple of that"),
        (
            ["run", "degradation", "--dry-run", "--machine", "x", "--results", "/nowhere"],
            "--machine x: nothing is recorded of",
        ),
        (["run", "degradation", "--set", "base=imagnet"], "base = 'imagnet' is not allowed; allowed: cifar, imagenet,"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(capsys, monkeypatch, arguments, named):
    monkeypatch.chdir(ROOT)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert main(arguments) == 2
    text = capsys.readouterr().err
    assert text.startswith("resbench: error: ") and text.count("\n") == 1
    assert named in text


@pytest.mark.parametrize(
    "arguments",
    [
        ["fly"],
        ["net"],
        ["run"],
        ["run", "x", "--workers", "0"],
        ["run", "x", "--timeout", "-1"],
        ["run", "x", "--max-seeds", "0"],
        ["run", "x", "--price", "-1"],
        ["run", "x", "--devices", "0"],
        ["slices", "x", "--steps", "4"],
        ["slices", "x", "--span", "nan"],
    ],
)
def test_unusable_arguments_are_exit_code_2(capsys, arguments):
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert ended.value.code == 2
    assert "usage:" in capsys.readouterr().err


def test_results_that_cannot_be_written_are_exit_code_5(tmp_path, capsys):
    (tmp_path / "file").write_text("")
    study = ROOT / "ablations" / "degradation.toml"
    assert main(["run", str(study), "--results", str(tmp_path / "file" / "results")]) == 5
    assert "file" in capsys.readouterr().err


STUDY = """
title = "Small"
question = "Does it run?"
[matrix]
data = "digits"
depth = 8
shortcut = ["none", "A"]
width = 0.5
[recipe]
iterations = 20
batch = 32
lr = 0.05
drops = [10]
eval_every = 10
crop_padding = 1
"""


def test_a_study_from_file_to_report(study_file, tmp_path):
    """What `make ablation` does, in small: run, rerun, slices, report."""
    study, results, reports = study_file(STUDY, "small.toml"), tmp_path / "results", tmp_path / "reports"
    place = ("--results", results)
    first = resbench("run", study, *place)
    assert first.returncode == 0, first.stderr
    assert "2 cells: 2 done" in first.stdout and first.stderr == ""
    again = resbench("run", study, *place)
    assert again.returncode == 0 and "2 cells: 2 done" in again.stdout and "preparing" not in again.stdout
    slices = resbench("slices", study, *place, "--only", "shortcut=A", "--steps", 3, "--images", 20)
    assert slices.returncode == 0, slices.stderr
    assert "of 1 nets 1 were not kept" in slices.stdout and "3 x 3 points over 20 images" in slices.stdout
    report = resbench("report", study, *place, "--reports", reports)
    assert report.stdout.strip() == f"report: {reports}/small/index.html"
    assert {path.name for path in (reports / "small").iterdir()} == {"index.html", "report.md", "figures", "tables"}


def test_failed_cells_are_exit_code_1(study_file, tmp_path):
    study = study_file(STUDY.replace("batch = 32", 'batch = 5000\nlast_batch = "drop"'))
    answer = resbench("run", study, "--results", tmp_path / "results")
    assert answer.returncode == 1
    assert "2 failed" in answer.stdout and "batch = 5000 is not allowed" in answer.stdout


def test_a_closed_pipe_is_no_traceback():
    read, write = os.pipe()
    os.close(read)
    answer = subprocess.run(
        [sys.executable, "-m", "bench.cli", "net", "--depth", "20", "--json"],
        stdout=write,
        stderr=subprocess.PIPE,
        cwd=ROOT,
    )
    os.close(write)
    assert b"Traceback" not in answer.stderr


CLAIM = """
[[claim]]
says = "Plain is worse."
left = { shortcut = "none" }
relation = "above"
right = { shortcut = "A" }
"""
CLAIMED = STUDY.replace("depth = 8", "depth = 8\nseeds = 3") + CLAIM
PLAIN_WORSE = {"none": (0.80, 0.81, 0.82), "A": (0.10, 0.11, 0.10)}
NO_TELLING = {"none": (0.10, 0.11, 0.15), "A": (0.12, 0.11, 0.10)}


def recorded(path, results, errors, host=None):
    """Record these training errors by shortcut and seed."""
    store, host = Store(results), host or a_host()
    store.add_host(host)
    for cell in study_module.load(path).cells:
        if cell.seed < len(errors[cell.arch.shortcut]):
            curve = a_curve(cell, errors[cell.arch.shortcut][cell.seed])
            store.commit(cell, a_run(cell, curve, host), curve)


@pytest.mark.parametrize(
    ("errors", "code", "word"),
    [
        (PLAIN_WORSE, 0, "✔ supported"),
        ({"none": PLAIN_WORSE["A"], "A": PLAIN_WORSE["none"]}, 1, "✘ contradicted"),
        (NO_TELLING, 3, "? undecided"),
        ({"none": (0.8,), "A": PLAIN_WORSE["A"]}, 3, "– untestable"),
        ({"none": (), "A": ()}, 3, "– untestable"),
    ],
)
def test_judge_tells_in_words_as_json_and_by_its_exit_code(study_file, tmp_path, capsys, errors, code, word):
    path, results = study_file(CLAIMED), tmp_path / "results"
    recorded(path, results, errors)
    assert main(["judge", str(path), "--results", str(results)]) == code
    text = capsys.readouterr().out
    assert text.startswith(f"{word}: Plain is worse.") and text.splitlines()[-1].startswith("study on ")
    assert main(["judge", str(path), "--results", str(results), "--json"]) == code
    found = json.loads(capsys.readouterr().out)
    assert found["verdicts"][0]["verdict"] == word.split()[1] and found["study"] == "study"
    assert (found["host"] is None) == (errors["A"] == ())


def test_judge_names_the_hosts_it_leaves_out(study_file, tmp_path, capsys):
    path, results = study_file(CLAIMED), tmp_path / "results"
    recorded(path, results, {"none": (0.1,), "A": ()}, a_host(cpu="Another CPU"))
    recorded(path, results, {"none": (), "A": (0.1, 0.2)})
    assert main(["judge", str(path), "--results", str(results)]) == 3
    assert "not judged: runs on Another CPU" in capsys.readouterr().err


def test_judge_takes_further_seeds_that_are_recorded_unless_seeds_are_chosen(study_file, tmp_path, capsys):
    path, results = study_file(CLAIMED), tmp_path / "results"
    five = study_file(CLAIMED.replace("seeds = 3", "seeds = 5"), "five.toml")
    recorded(
        five, results, {side: (*errors, 0.5 if side == "none" else 0.1, 0.5) for side, errors in NO_TELLING.items()}
    )

    def n(*more):
        main(["judge", str(path), "--results", str(results), "--json", *more])
        return json.loads(capsys.readouterr().out)["verdicts"][0]["n"]

    assert (n(), n("--only", "seed=0|1|2"), n("--only", "split_seed=0")) == (5, 3, 5)


def test_a_study_without_claims_cannot_be_judged(study_file, tmp_path, capsys):
    path = study_file(STUDY)
    for arguments in (["judge", str(path)], ["run", str(path), "--until-decided", "--results", str(tmp_path / "r")]):
        assert main(arguments) == 2
        text = capsys.readouterr().err
        assert "states no claim" in text and text.count("\n") == 1


@pytest.mark.parametrize(("more", "seeds"), [([], 18), (["--max-seeds", "6"], 5), (["--max-seeds", "2"], 3)])
def test_until_decided_adds_seeds_up_to_the_most(study_file, tmp_path, capsys, monkeypatch, more, seeds):
    path, store = study_file(CLAIMED), Store(tmp_path / "results")

    def made_up(cells, _sources, _store, _options, _watcher):
        store.add_host(a_host())
        for cell in cells:
            curve = a_curve(cell, NO_TELLING[cell.arch.shortcut][cell.seed % 3])[-1:]
            store.commit(cell, a_run(cell, curve), curve)
        return {"done": len(cells)}

    monkeypatch.setattr(sweep, "sweep", made_up)
    assert main(["run", str(path), "--until-decided", "--results", str(store.root), *more]) == 0
    assert len(store.recorded()) == 2 * seeds
    text = capsys.readouterr().out
    assert f"study: {2 * seeds} cells: {2 * seeds} done" in text and "no more seeds are added" in text
    assert main(["judge", str(path), "--results", str(store.root), "--json"]) == 3
    assert json.loads(capsys.readouterr().out)["verdicts"][0]["n"] == seeds


@pytest.fixture
def ending(monkeypatch):
    """Run a command that is sent a signal by itself; how it ends."""

    def run(number):
        def command(_):
            signal.raise_signal(number)
            return EXIT_OK

        monkeypatch.setattr(cli, "_parse", lambda _: Namespace(command=command))
        return main([])

    return run


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_is_an_interruption_whose_handlers_do_not_stay(ending, number, capsys):
    before = signal.getsignal(number)
    assert ending(number) == 130
    assert capsys.readouterr().err == "resbench: interrupted\n"
    assert signal.getsignal(number) == before


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGHUP])
def test_what_is_ignored_as_by_nohup_still_is(ending, number):
    before = signal.signal(number, signal.SIG_IGN)
    try:
        assert ending(number) == EXIT_OK
    finally:
        signal.signal(number, before)
