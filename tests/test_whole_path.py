"""ImageNet's study at its smallest, as a user types it: from a folder of JPEGs to ten crops, on one and two devices."""

import re

import pandas as pd
import pytest
from conftest import ROOT

from bench import cli
from bench.run import TESTS

SETTINGS = {
    **{"depth": 18, "width": 0.0625, "seeds": 1, "iterations": 8, "drops": [6], "eval_every": 4, "batch": 8},
    **{"norm_batch": 4, "crop_size": 32, "scale": [36, 64], "train_sample": 16},
}
SMALLEST = [word for key, value in SETTINGS.items() for word in ("--set", f"{key}={value}")]


@pytest.fixture
def place(tmp_path, monkeypatch):
    monkeypatch.setenv("RESBENCH_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def resbench(*words: str) -> int:
    return cli.main([str(word) for word in words])


def test_from_a_folder_to_a_report(place, capsys):
    made = ("data", "make-folder", "photographs", "--from", "digits", "--classes", "2", "--size", "40..64")
    assert resbench(*made, "--train", "48", "--test", "10") == 0
    assert resbench("data", "imagenet-check", "photographs", "--classes", "2", "--train", "48", "--val", "10") == 0
    study = (ROOT / "ablations/imagenet-mini.toml", *SMALLEST, "--set", "data=folder:photographs")
    assert resbench("run", *study) == 0
    runs = pd.read_parquet(place / "results/runs")
    assert sorted(runs["shortcut"]) == ["A", "none"] and set(runs["outcome"]) == {"done"}
    assert runs[[*TESTS, "data_seconds"]].notna().all(axis=None) and (runs["bad_images"] == 0).all()
    assert resbench("report", *study) == 0
    text = (place / "reports/imagenet-mini/report.md").read_text()
    assert "10-crop" in text and "folder:photographs" in text
    capsys.readouterr()
    spread = (*study, "--only", "shortcut=A", "--devices", "2", "--results", "spread")
    assert resbench("run", *spread) == 0
    there = pd.read_parquet(place / "spread/runs").iloc[0]
    here = runs[runs["shortcut"] == "A"].iloc[0]
    assert (there["devices"], there["cell_id"]) == (2, here["cell_id"])
    assert there["final_train_loss"] == pytest.approx(here["final_train_loss"], rel=1e-3)
    assert re.search("1 cell: 1 done", capsys.readouterr().out)
