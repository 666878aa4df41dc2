"""The command line as a user types it: answers, exit codes, and never a traceback."""

import json
import os
import subprocess
import sys

import pytest
from conftest import ROOT

from bench.cli import main


def resbench(*arguments, **more):
    """Run the command in a process of its own, in the repository."""
    return subprocess.run(
        [sys.executable, "-m", "bench.cli", *map(str, arguments)], capture_output=True, text=True, cwd=ROOT, **more
    )


def test_help_of_every_command_has_examples(capsys):
    for command in ([], ["run"], ["slices"], ["report"], ["net"], ["data"]):
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
        (["report", "degradation", "--results", "/nowhere"], "no run of this study is recorded"),
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
