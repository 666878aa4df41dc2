"""What runs on the other side, here: a cell ends there as it does on one machine, and is known by what it leaves."""

import dataclasses
import json
from pathlib import Path

import pytest
from objects import store
from test_sweep import RECIPE, a_cell

from bench import host, remote, run, shared
from bench.answer import Answer
from bench.remote import Storage
from bench.shared import Shared
from bench.slots import Slot
from bench.source import Source
from bench.task import Task

ENTRY = "bench.worker:run_cell"


@pytest.fixture(scope="module")
def data():
    """The checksum of the data set, as a survey tells it."""
    from bench import dataset

    return dataset.load(Source.parse("digits")).sha256


def an_order(folder, data, entry=ENTRY, cell=None, witness=None, device="cpu", **job):
    cell = cell or a_cell()
    told = Slot("cpu").job(cell, Source("digits"), data) | {
        "checkpoint": "elsewhere", "checkpoint_seconds": 0.0, "analysis": True, "net": None,
        "loading": {"loaders": None, "bad_images": "fail"},
    }  # fmt: skip
    task = Task(cell.id, entry, told | job, Path("log"), (), 30.0)
    return remote.order(task, Storage(str(folder), witness and str(witness)), device, 1)


def carried_out(order, stop_after=10**9):
    """The answer, and all that was told; it is asked to stop after so many evaluations."""
    told = []
    answer = remote.carry_out(order, told.append, lambda: sum("sent" in each for each in told) >= stop_after)
    json.dumps(told)
    return answer, told


def left(folder, answer):
    content = Shared(str(folder)).read(shared.answer(answer.cell_id))
    return content and Answer.unpacked(content, answer.cell_id, answer.data_sha256)


def test_a_cell_trains_and_its_answer_is_left_behind(tmp_path, data):
    answer, told = carried_out(an_order(tmp_path, data))
    assert [point["iteration"] for point in answer.value["curve"]] == [10, 20, 30, 40]
    assert "place" in told[0] and [each["sent"] for each in told[1:]] == answer.value["curve"]
    assert left(tmp_path, answer) == answer
    assert answer.data_sha256 == data and answer.place.provenance == run.provenance()
    assert answer.place.host.cpu == host.cpu_model() and answer.place.host.torch and answer.place.seconds > 0
    assert (tmp_path / shared.checkpoint(answer.cell_id)).exists()  # the driver removes it


def test_an_answer_that_was_left_is_handed_over_and_nothing_runs(tmp_path, data):
    answer, _ = carried_out(an_order(tmp_path, data, "children:end_at_once"))
    again, told = carried_out(an_order(tmp_path, data, "children:leave"))
    assert again == answer and told == []


@pytest.mark.parametrize("depth,cause,reason", [
    (14, "error", "ZeroDivisionError: of the test"),
    (20, "error", "killed by SIGKILL"),
    (32, "out-of-memory", "MemoryError"),
])  # fmt: skip
def test_each_end_is_told_as_what_it_was(tmp_path, data, depth, cause, reason):
    answer, _ = carried_out(an_order(tmp_path, data, "children:trouble_by_depth", a_cell(depth)))
    assert (answer.death["cause"], answer.death["reason"]) == (cause, reason)
    assert ("Traceback" in answer.death["log"]) == (depth != 20)
    assert left(tmp_path, answer) == answer and answer.value is None and answer.place.host.cpu


def test_one_that_takes_too_long_is_ended(tmp_path, data):
    order = json.loads(an_order(tmp_path, data, "children:trouble_by_depth", a_cell(26)))
    answer, _ = carried_out(json.dumps(order | {"timeout": 1.5}))
    assert (answer.death["cause"], answer.death["reason"]) == ("timed-out", "no end after 1.5 s")


def test_a_cell_that_is_stopped_goes_on_on_another_machine_to_the_same_bits(tmp_path, data, monkeypatch):
    """From an object store, so that nothing but what was put there can be known to the second machine."""
    bucket, _ = store(tmp_path / "bucket")
    monkeypatch.setattr(remote, "Shared", lambda _: bucket)
    cell = a_cell(recipe=dataclasses.replace(RECIPE, iterations=4000, eval_every=20))
    whole = an_order("s3://bucket/study", data, cell=cell)
    stopped, told = carried_out(whole, stop_after=3)
    assert stopped is None and bucket.read(shared.answer(cell.id)) is None
    first = [each["sent"]["iteration"] for each in told[1:]]
    shorter = json.loads(whole)
    answer, told = carried_out(json.dumps(shorter), stop_after=len(first) + 3)
    assert answer is None
    again = [each["sent"]["iteration"] for each in told[1:]]
    assert (
        first == again[: len(first)] == list(range(20, 20 * len(first) + 1, 20))
    )  # it went on, and did not begin anew
    assert len(told[1]["sent"]) and told[1]["sent"]["train_seconds"] > 0


def test_a_machine_that_does_not_see_the_results_keeps_what_it_has_to_itself(tmp_path, data, fresh_cache):  # noqa: ARG001
    order = an_order(tmp_path / "results", data, witness=tmp_path / "results" / ".orchestrators" / "driver")
    answer, _ = carried_out(order)
    assert answer.value and not (tmp_path / "results").exists()
    assert (tmp_path / "cache" / "elsewhere" / shared.checkpoint(answer.cell_id)).exists()
    net = an_order(tmp_path / "results", data, witness=tmp_path / "none", cell=a_cell(seed=1), net="somewhere")
    refused, _ = carried_out(net)
    assert refused.death["cause"] == "refused" and "--keep-nets needs --shared" in refused.death["reason"]


def test_a_net_is_left_where_the_driver_finds_it(tmp_path, data):
    order = an_order(tmp_path, data, net="somewhere", analysis=False)
    answer, _ = carried_out(order)
    assert (tmp_path / shared.net(answer.cell_id)).stat().st_size > 1000


def test_another_version_or_other_data_is_refused_there(tmp_path, data):
    order = json.loads(an_order(tmp_path, data))
    answer, _ = carried_out(json.dumps(order | {"cell_id": "f" * 16}))
    assert answer.death["cause"] == "refused" and "another version of resbench" in answer.death["reason"]
    answer, _ = carried_out(an_order(tmp_path, "0" * 64))
    assert answer.death["cause"] == "refused" and "recorded runs name other images digits" in answer.death["reason"]


def test_a_gpu_that_is_not_there_is_told(tmp_path, data, monkeypatch):
    monkeypatch.setattr(host, "gpus", lambda *_, **__: [])
    answer, _ = carried_out(an_order(tmp_path, data, device="cuda"))
    assert answer.death["cause"] == "refused" and "NVML finds no visible GPU" in answer.death["reason"]


def test_storage_that_cannot_be_written_is_no_cells_fault(tmp_path, data):
    (tmp_path / "answers").write_text("in the way")
    answer, _ = carried_out(an_order(tmp_path, data, "children:end_at_once"))
    assert answer.death["cause"] == "unwritable" and f"{tmp_path}/answers/" in answer.death["reason"]
