"""How long a report over 10,000 cells takes, and in how much memory. Run by `make bench`; never a check."""

import resource
import subprocess
import sys
from dataclasses import replace

import pytest
from conftest import ROOT
from synthetic import RECIPE, a_cell, a_curve, a_host, a_layer, a_run

from bench import parts
from bench.store import Store

CELLS = 10_000
SHAPES = {  # seeds, and as many nets as make 10,000 cells
    "few nets, many seeds": (500, [(d, s, RECIPE) for d in (8, 14, 20, 32, 56) for s in ("none", "A", "B", "C")]),
    "many variants": (5, [(d, s, replace(RECIPE, lr=k / 1000)) for k in range(1, 335) for d in (8, 20) for s in "ABC"]),
}
STUDY = """
title = "Ten thousand cells"
question = "How long does a report take?"
[matrix]
data = "digits"
depth = {depths}
shortcut = {shortcuts}
seeds = {seeds}
lr = {rates}
[recipe]
iterations = 100
batch = 32
drops = [50, 75]
eval_every = 25
split = "holdout"
[[claim]]
says = "Deeper is worse."
left = {{ depth = 20, shortcut = "A" }}
right = {{ depth = 8, shortcut = "A" }}
"""


@pytest.fixture(params=SHAPES)
def recorded(request, tmp_path, monkeypatch):
    """A results folder of 10,000 cells, and the study they belong to."""
    seeds, nets = SHAPES[request.param]
    monkeypatch.setattr(parts, "sync", lambda _: None)  # making it is not what is measured
    store, host = Store(tmp_path / "results"), a_host()
    store.add_host(host)
    for depth, shortcut, recipe in nets[: CELLS // seeds]:
        for seed in range(seeds):
            cell = a_cell(depth, shortcut, seed, recipe)
            curve = a_curve(cell, 0.1 + seed % 7 / 100)
            layers = [a_layer(layer=n) for n in range(1, depth)] if seed < 3 else []
            store.commit(cell, a_run(cell, curve, host), curve, layers)
    with store.writing():  # as an orchestrator does, which leaves the index up to date
        pass
    study = tmp_path / "large.toml"
    study.write_text(
        STUDY.format(
            depths=sorted({depth for depth, _, _ in nets}),
            shortcuts=list(dict.fromkeys(shortcut for _, shortcut, _ in nets)),
            seeds=seeds,
            rates=list(dict.fromkeys(recipe.lr for _, _, recipe in nets)),
        ).replace("'", '"')
    )
    return study, store.root


def test_a_report_over_10_000_cells(benchmark, recorded, tmp_path):
    """The whole command, in a process of its own."""
    study, results = recorded
    command = [sys.executable, "-m", "bench.cli", "report", study, "--results", results, "--reports", tmp_path / "out"]
    benchmark.pedantic(lambda: subprocess.run(command, check=True, cwd=ROOT), rounds=3)
    benchmark.extra_info["peak_memory_mb"] = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
