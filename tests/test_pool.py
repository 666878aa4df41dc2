"""The pool: what children return, how they die, and that they never outlive their parent."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from children import alive
from conftest import ROOT

from bench import pool
from bench.errors import DataError
from bench.pool import Pool
from bench.task import Died, Event, Returned, Sent, Task


@pytest.fixture
def run(tmp_path):
    """Run one task to its end and return its events."""

    def call(entry: str, payload: object = None, **more: object) -> list[Event]:
        children = Pool()
        children.start(Task("key", f"children:{entry}", payload, tmp_path / "log", **more))
        events = []
        while len(children):
            events += children.wait(1.0)
        return events

    return call


def test_messages_come_in_order_before_the_value(run):
    assert run("echo", {"a": 1}) == [Sent("key", {"a": 1}), Returned("key", {"a": 1})]


def test_each_task_has_a_fresh_process_with_torch_imported_and_its_own_environment(run):
    ((first,), (second,)) = (run("process", environment=(("RESBENCH_TEST", value),)) for value in "12")
    assert first.value["torch"] and second.value["torch"]
    assert (first.value["environment"], second.value["environment"]) == ("1", "2")
    assert first.value["pid"] != second.value["pid"]
    assert os.environ.get("RESBENCH_TEST") is None


def test_an_exception_is_told_with_the_end_of_the_log(run):
    (event,) = run("fail", ZeroDivisionError("of the test"))
    assert (event.cause, event.reason) == ("error", "ZeroDivisionError: of the test")
    assert event.log.startswith("about to fail\nTraceback")


def test_a_resbench_error_is_a_refusal_in_its_own_words(run):
    (event,) = run("fail", DataError("no such images"))
    assert (event.cause, event.reason) == ("refused", "no such images")
    assert "Traceback" not in event.log


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSEGV, signal.SIGABRT])
def test_a_killed_child_is_told_by_its_signal(run, number):
    sent, died = run("die", number)
    assert sent.message == "last words"
    assert (died.cause, died.reason) == ("error", f"killed by {number.name}")
    if number == signal.SIGSEGV:
        assert "Segmentation fault" in died.log  # faulthandler's


def test_a_silent_exit_is_told(run):
    (died,) = run("leave", 3)
    assert died.reason == "exited with status 3"


def test_a_hang_ends_at_its_timeout(run):
    began = time.monotonic()
    _, died = run("hang", timeout=0.5)
    assert (died.cause, died.reason) == ("timed-out", "no end after 0.5 s")
    assert time.monotonic() - began < 20


@pytest.mark.parametrize("entry", ["allocate", "allocate_tensor"])
def test_running_out_of_memory_is_told_as_that(run, entry):
    (died,) = run(entry, 2**36)
    assert died.cause == "out-of-memory"


def test_a_kill_while_the_kernel_reports_one_for_memory_is_out_of_memory(run, monkeypatch):
    counts = iter([7, 8])
    monkeypatch.setattr(pool, "out_of_memory_kills", lambda: next(counts))
    assert run("die", signal.SIGKILL)[-1].cause == "out-of-memory"


def test_stop_lets_children_end_in_order_and_kills_those_that_do_not(tmp_path):
    children = Pool()
    for entry in ("wait", "hang"):
        children.start(Task(entry, f"children:{entry}", None, tmp_path / entry))
    seen = []
    while len(seen) < 2:
        seen += children.wait(1.0)
    ends = {event.key: event for event in children.stop(grace=1.0)}
    assert ends["wait"] == Returned("wait", "stopped in order")
    assert isinstance(ends["hang"], Died) and ends["hang"].cause == "stopped"
    assert len(children) == 0


def test_many_side_by_side_each_answer_its_own(tmp_path):
    children = Pool()
    for number in range(8):
        children.start(Task(str(number), "children:echo", number, tmp_path / str(number)))
    values = {}
    while len(children):
        values |= {e.key: e.value for e in children.wait(1.0) if isinstance(e, Returned)}
    assert values == {str(number): number for number in range(8)}


def test_a_child_may_have_children(run):
    assert run("delegate", 21)[-1] == Returned("key", 42)


def test_call_returns_the_value_or_raises_the_reason(tmp_path):
    told = []
    assert pool.call("children:echo", 5, tmp_path / "log", told.append) == 5
    assert told == [5]
    with pytest.raises(DataError, match="no such images"):
        pool.call("children:fail", DataError("no such images"), tmp_path / "log", told.append)


def test_a_call_that_was_killed_is_made_once_more_and_then_says_where_its_output_is(tmp_path):
    told = []
    with pytest.raises(DataError, match=r"killed by SIGKILL; its output is in .*log"):
        pool.call("children:die", signal.SIGKILL, tmp_path / "log", told.append)
    assert told == ["last words"] * 2


def test_an_outcome_says_how_it_ended(tmp_path):
    told = []
    assert pool.outcome(Task("one", "children:echo", 5, tmp_path / "log"), told.append) == Returned("one", 5)
    died = pool.outcome(Task("two", "children:allocate", 2**36, tmp_path / "log"), told.append)
    assert isinstance(died, Died) and died.cause == "out-of-memory" and told == [5]


PARENT = """
import sys
from pathlib import Path
from bench.pool import Pool
from bench.task import Task
children = Pool()
children.start(Task("key", "children:hang", None, Path(sys.argv[1])))
while True:
    for event in children.wait(1.0):
        print(children._children["key"]._process.pid, flush=True)
        if sys.argv[2] == "raises":
            raise ZeroDivisionError
"""


@pytest.mark.parametrize("end", ["killed", "raises"])
def test_children_do_not_outlive_their_parent(tmp_path, end):
    environment = os.environ | {"PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'tests'}"}
    parent = subprocess.Popen(
        [sys.executable, "-c", PARENT, tmp_path / "log", end],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        env=environment,
    )
    child = int(parent.stdout.readline())
    if end == "killed":
        assert Path(f"/proc/{child}").exists()
        parent.kill()
    assert parent.wait(timeout=20) != 0
    parent.stdout.close()
    deadline = time.monotonic() + 20
    while alive(child) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not alive(child)
