"""Cells on a real Ray: a cluster of this machine alone, and one of several nodes of which one is lost in mid-study."""

import dataclasses
import os
import subprocess
import sys

import clusters
import pytest
from conftest import ROOT
from test_sweep import RECIPE, SOURCES, Recorder, a_cell, run

from bench.errors import DeviceError
from bench.store import Store
from bench.sweep import Options, sweep
from bench.where import Where

pytest.importorskip("ray", reason="Ray is not installed: pip install 'resbench[ray]'")
pytestmark = [pytest.mark.timeout(280), pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::FutureWarning")]


@pytest.fixture
def importable(monkeypatch):
    """Nodes find this package and the tests' children."""
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(ROOT), str(ROOT / "tests")]))


def on_ray(cells, store, where=Where("ray"), watcher=None, **options):  # noqa: B008
    watcher = watcher or Recorder()
    return sweep(cells, SOURCES, store, Options(where=where, **options), watcher), watcher


@pytest.mark.engines
def test_tables_are_those_of_this_machine_and_nothing_is_reported(tmp_path, importable):  # noqa: ARG001
    cells = [a_cell(seed=0), a_cell(20), a_cell(shortcut="none")]
    here, there = Store(tmp_path / "here"), Store(tmp_path / "there")
    run([cells[0], cells[2]], here)
    outcomes, watcher = on_ray(cells, there, entry="children:train_where_nothing_is_reported", retries=0, workers=2)
    assert outcomes == {"done": 2, "failed": 1}
    (failed,) = [row for row in there.runs().to_pylist() if row["outcome"] == "failed"]
    assert failed["error"] == "killed by SIGKILL"
    done = {"runs": lambda row: row["depth"] == 8, "curves": lambda _: True, "layers": lambda _: True}
    found = {name: list(filter(done[name], rows)) for name, rows in clusters.results(there).items()}
    assert found == clusters.results(here)
    assert there.hosts() == here.hosts()
    assert watcher.begun[2].startswith("Ray, ") and watcher.begun[2].endswith(" CPUs of one node, 2 at a time")
    assert not list(there.root.glob("shared/*/*"))


def test_a_cluster_that_is_not_there_is_told(tmp_path, importable):  # noqa: ARG001
    with pytest.raises(DeviceError, match="--address ray://x: HOST:PORT"):
        on_ray([a_cell()], Store(tmp_path), Where("ray", address="ray://x"))


def test_ray_is_told_to_report_nothing_before_it_is_imported():
    says = "import bench.onray; from ray._common.usage import usage_lib as u; print(u.usage_stats_enabled())"
    environment = {name: value for name, value in os.environ.items() if name != "RAY_USAGE_STATS_ENABLED"}
    done = subprocess.run(
        [sys.executable, "-c", says], capture_output=True, text=True, cwd=ROOT, timeout=120, env=environment
    )
    assert done.stdout == "False\n", done.stderr


class Killer(Recorder):
    """Takes a node away at the first evaluation, when another has come."""

    def __init__(self, cluster, node):
        super().__init__()
        self.cluster, self.node, self.points = cluster, node, []

    def evaluated(self, cell, evaluation):
        self.points.append((cell.id, evaluation.iteration))
        if self.node:
            self.cluster.add_node(num_cpus=2)
            self.cluster.remove_node(self.node, allow_graceful=False)
            self.node = None


@pytest.mark.engines
def test_a_node_that_is_lost_costs_no_cell(tmp_path, importable):  # noqa: ARG001
    from ray.cluster_utils import Cluster

    recipe = dataclasses.replace(RECIPE, iterations=1200, drops=(600,), eval_every=40)
    cells = [a_cell(seed=seed, recipe=recipe) for seed in range(3)]
    here, there = Store(tmp_path / "here"), Store(tmp_path / "there")
    run(cells, here)
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False})
    try:
        watcher = Killer(cluster, cluster.add_node(num_cpus=2))
        cluster.wait_for_nodes()
        where = Where("ray", address=cluster.address, shared=str(tmp_path / "shared"))
        outcomes, _ = on_ray(cells, there, where, watcher, checkpoint_seconds=0.0, retries=0)
    finally:
        cluster.shutdown()
    assert outcomes == {"done": 3}
    assert clusters.results(here) == clusters.results(there)
    assert len(watcher.points) > len(set(watcher.points))  # of cells begun twice
    assert set(there.runs()["attempts"].to_pylist()) == {1}  # Ray's business, not ours
