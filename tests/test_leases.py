"""Leases, between processes and with scripted clocks: no cell is two orchestrators', and the dead hold nothing."""

import fcntl
import multiprocessing
import os
import signal
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench import leases as module
from bench.errors import StoreError
from bench.leases import Leases, Orchestrator

CELLS = [f"{number:016x}" for number in range(6)]
ELSEWHERE = Orchestrator("elsewhere", 7, "f" * 32, "a" * 12)
SPAWN = multiprocessing.get_context("spawn")


class Clock:
    now = 1000.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock(monkeypatch):
    clock = Clock()
    monkeypatch.setattr(module.time, "monotonic", clock)
    return clock


def from_elsewhere(root, *cells):
    """The file of an orchestrator on another machine."""
    folder = root / ".orchestrators"
    folder.mkdir(exist_ok=True)
    file = folder / ELSEWHERE.name
    file.write_text("".join(f"{cell}\n" for cell in cells))
    return file


def test_a_cell_is_one_orchestrators(tmp_path):
    one, two = Leases(tmp_path), Leases(tmp_path)
    with one.owned(), two.owned():
        assert one.take(CELLS[:2]) == set(CELLS[:2])
        assert two.take(CELLS[1:3]) == {CELLS[2]}
        assert one.take(CELLS[:3]) == set(CELLS[:2])
        assert [*one.others().values()] == [{CELLS[2]}]
        one.release(CELLS[:1])
        one.take(CELLS[3:4])
        assert two.take(CELLS) == {CELLS[0], CELLS[2], CELLS[4], CELLS[5]}
    with two.owned():
        assert two.take(CELLS) == set(CELLS)  # both ended
        assert two.others() == {}


def test_who_was_alone_all_the_time_knows(tmp_path):
    one, two = Leases(tmp_path), Leases(tmp_path)
    with one.owned():
        one.take(CELLS[:1])
        assert one.alone
        with two.owned():
            assert not two.alone
        one.take(CELLS[:1])
        assert not one.alone  # another came and went
    with two.owned():
        two.take(())
        assert two.alone


def hold_for(root, cells, ready, seconds):
    leases = Leases(root)
    with leases.owned():
        leases.take(cells)
        ready.set()
        time.sleep(seconds)


def held_elsewhere(tmp_path):
    ready = SPAWN.Event()
    child = SPAWN.Process(target=hold_for, args=(tmp_path, CELLS[:2], ready, 600))
    child.start()
    assert ready.wait(60)
    return child


def test_a_killed_orchestrator_holds_nothing(tmp_path):
    child = held_elsewhere(tmp_path)
    mine = Leases(tmp_path)
    with mine.owned():
        assert mine.take(CELLS[:3]) == {CELLS[2]}
        os.kill(child.pid, signal.SIGKILL)
        child.join()
        assert mine.take(CELLS[:3]) == set(CELLS[:3])
        assert len(list((tmp_path / ".orchestrators").iterdir())) == 2  # ours, and the count


def test_one_that_was_held_up_records_nothing_more(tmp_path, clock):
    child = held_elsewhere(tmp_path)
    mine = Leases(tmp_path)
    try:
        os.kill(child.pid, signal.SIGSTOP)
        with mine.owned():
            assert mine.take(CELLS[:1]) == set()
            clock.now += module.EXPIRY_SECONDS
            assert mine.take(CELLS[:1]) == set()
            clock.now += 1.0
            assert mine.take(CELLS[:1]) == {CELLS[0]}
    finally:
        os.kill(child.pid, signal.SIGKILL)
        child.join()

    held_up = Leases(tmp_path)
    with held_up.owned():
        held_up.take(CELLS[:1])
        for file in (tmp_path / ".orchestrators").glob("*.*.*.*"):
            file.unlink()  # as whoever takes it for dead does
        with pytest.raises(StoreError, match="held up for over 60 s"), held_up.held():
            raise AssertionError
        with pytest.raises(StoreError, match="held up"):
            held_up.take(CELLS)


def test_another_machines_orchestrator_is_dead_when_untouched_by_our_clock(tmp_path, clock):
    file = from_elsewhere(tmp_path, CELLS[0])
    mine = Leases(tmp_path)
    with mine.owned():
        for touched in (5e17, 4e17, 9e18, 0):  # its clock is anything, and is set back
            os.utime(file, ns=(0, int(touched)))
            clock.now += module.EXPIRY_SECONDS - 1
            assert mine.take(CELLS[:1]) == set()
        clock.now += module.EXPIRY_SECONDS + 1
        assert mine.take(CELLS[:1]) == {CELLS[0]}
        assert not file.exists()


def test_on_another_machine_a_lock_says_nothing(tmp_path, clock):  # where locks are a machine's own
    file = from_elsewhere(tmp_path, CELLS[0])
    with file.open() as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        mine = Leases(tmp_path)
        with mine.owned():
            mine.take(())
            clock.now += module.EXPIRY_SECONDS + 1
            assert mine.take(CELLS[:1]) == {CELLS[0]}


def test_the_living_are_seen_to_live(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "BEAT_SECONDS", 0.01)
    leases = Leases(tmp_path)
    with leases.owned():
        (file,) = (tmp_path / ".orchestrators").glob("*.*.*.*")
        os.utime(file, ns=(0, 0))
        deadline = time.monotonic() + 60
        while file.stat().st_mtime_ns == 0:
            assert time.monotonic() < deadline
            time.sleep(0.01)


def count_up(root, rounds):
    """Many turns at a file that two at once would spoil."""
    leases = Leases(root)
    with leases.owned():
        for _ in range(rounds):
            with leases.held():
                number = int((root / "number").read_text())
                time.sleep(0.0005)
                (root / "number").write_text(str(number + 1))


def test_writing_takes_turns(tmp_path):
    (tmp_path / "number").write_text("0")
    children = [SPAWN.Process(target=count_up, args=(tmp_path, 40)) for _ in range(2)]
    for child in children:
        child.start()
    for child in children:
        child.join()
    assert (tmp_path / "number").read_text() == "80"


def test_a_lock_that_is_never_free_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "PATIENCE_SECONDS", 0.05)
    with (tmp_path / ".lock").open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        with pytest.raises(StoreError, match=r"\.lock: held by another process for over 0 s"), Leases(tmp_path).owned():
            raise AssertionError


def test_files_that_are_none_of_ours_are_left_alone(tmp_path):
    folder = tmp_path / ".orchestrators"
    folder.mkdir()
    for name in ("notes.txt", "a.b.c.d", ".nfs0001", ".count"):
        (folder / name).write_text("not a number")
    leases = Leases(tmp_path)
    with leases.owned():
        assert leases.take(CELLS) == set(CELLS)
    assert len(list(folder.iterdir())) == 4


@given(st.text(), st.integers(0, 2**22), st.text("0123456789abcdef", max_size=32))
def test_a_name_says_who(host, pid, boot):
    host = "".join(c if c.isalnum() or c == "-" else "-" for c in host)
    one = Orchestrator(host, pid, boot, "0" * 12)
    assert Orchestrator.named(one.name) == one


def test_leases_that_cannot_be_written_are_an_error_and_readers_see_whole_lines(tmp_path, monkeypatch):
    leases, other = Leases(tmp_path), Leases(tmp_path)
    with leases.owned(), other.owned():
        leases.take(CELLS[:2])
        monkeypatch.setattr(module.os, "pwrite", lambda *_: 17)  # the disk is full after a line
        with pytest.raises(StoreError, match="No space left"):
            leases.take(CELLS[:4])
        assert [*other.others().values()] == [set(CELLS[:2])]
