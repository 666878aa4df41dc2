"""The history: what is added is read again, whoever else adds; parts of other versions, damaged ones, many."""

import dataclasses
import json
import multiprocessing
import shutil
from dataclasses import asdict, replace
from datetime import UTC, datetime, timedelta

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from synthetic import a_cell, a_host

from bench import history as module
from bench.benchmark import benchmarks
from bench.cell import HISTORICAL
from bench.errors import StoreError
from bench.history import CALIBRATIONS, MARKS, SAMPLES, VERSION, Calibration, History, Mark, Sample, sample_of
from bench.sample import COMPARISON, CPU, HISTORY, IMPORTED, Outcome, Taking

START = datetime(2026, 1, 1, tzinfo=UTC)
TRAIN, DECODING = benchmarks(["train", "decoding"], [a_cell()])


def a_taking(**fields) -> Taking:
    plain = {"measurement_id": "m", "purpose": HISTORY, "side": None, "pair": None, "commit": "a" * 40}
    plain |= {"dirty": False, "committed": START, "host_id": a_host().id, "device": "cpu", "threads": 1}
    return Taking(**plain | {"injected": None, "started": START + timedelta(hours=1)} | fields)


def an_outcome(**fields) -> Outcome:
    """With every field set."""
    values = {int: 3, float: 1 / 3, str: "words", bool: True, tuple: (1 / 3, 2e-300)}
    full = {}
    for field in dataclasses.fields(Outcome):
        kind = field.type.partition(" |")[0].partition("[")[0]
        full[field.name] = next(value for t, value in values.items() if t.__name__ == kind)
    return Outcome(**full | {"failed": None, "cause": None, "clock": CPU} | fields)


def a_sample(benchmark=TRAIN, outcome=None, **taking) -> Sample:
    return sample_of(benchmark, a_taking(**taking), outcome or an_outcome())


def in_order(samples):
    """Whatever the order: parts of one time have none."""
    return sorted(samples, key=lambda s: (s.name, s.taking.measurement_id, s.taking.pair or 0))


def a_mark(**fields) -> Mark:
    plain = {"benchmark_id": TRAIN.id, "host_id": None, "commit": "b" * 40, "note": "why — 2 %"}
    return Mark(**plain | {"committed": START, "accepted": START + timedelta(days=1)} | fields)


def a_calibration(**fields) -> Calibration:
    plain = {"calibration_id": "c", "benchmark_id": TRAIN.id, "clock": CPU, "host_id": "h", "device": "cpu"}
    plain |= {"threads": 1, "pairs": 6, "windows": 12, "window_seconds": 0.1, "runs": 50, "margin": 0.02}
    plain |= {
        "injected": 0.0,
        "spread": 1 / 3,
        "alarms": 0,
        "low": 0.0,
        "high": 0.07,
        "resampled": 0.001,
        "commit": None,
    }
    return Calibration(**plain | {"slowdowns": (0.01, 0.02), "powers": (0.5, 1.0), "started": START} | fields)


@pytest.fixture
def history(tmp_path):
    return History(tmp_path / "results")


# ---- writing and reading ----


def test_reading_an_empty_history_writes_nothing(history):
    assert history.samples() == history.marks() == history.calibrations() == []
    assert history.hosts() == {}
    assert not history.root.exists()


def test_samples_round_trip_at_full_precision(history):
    measured = [a_sample(), a_sample(DECODING, Outcome(failed="died of something", cause="died")), a_sample(pair=1)]
    strange = Sample("imported-7", "test_fast[8]", None, a_taking(purpose=IMPORTED), an_outcome(images=None))
    history.add(measured)
    history.add([strange])
    found = history.samples()
    assert in_order(found) == in_order([*measured, strange])
    assert {sample.benchmark for sample in found} == {TRAIN, DECODING, None}


def test_marks_calibrations_and_hosts_round_trip(history):
    marks = [a_mark(committed=START + timedelta(days=n), host_id="h" if n else None) for n in (2, 0, 1)]
    calibrations = [a_calibration(started=START + timedelta(days=n), spread=None) for n in (1, 0)]
    history.accept(marks)
    history.calibrate(calibrations)
    history.add_host(a_host())
    assert history.marks() == [marks[1], marks[2], marks[0]]  # oldest commit first
    assert history.calibrations() == calibrations[::-1]
    assert history.hosts() == {a_host().id: a_host()}


def test_order_is_of_commits_then_of_measurements(history):
    """Whenever and in whatever order they were added; outside of git, the sample's own time is the commit's."""
    hour = timedelta(hours=1)
    taken = [(3, 9), (1, 8), (1, 7), (None, 2), (0, 6)]
    expected = [(0, 6), (1, 7), (1, 8), (None, 2), (3, 9)]
    for committed, started in taken:
        at = None if committed is None else START + committed * hour
        history.add([a_sample(committed=at, started=START + started * hour)])
    found = [(s.taking.committed, s.taking.started) for s in history.samples()]
    assert found == [(None if c is None else START + c * hour, START + s * hour) for c, s in expected]


def test_a_purpose_chooses(history):
    history.add([a_sample(purpose=HISTORY), a_sample(purpose=COMPARISON, side="base", pair=0)])
    assert [s.taking.purpose for s in history.samples(HISTORY)] == [HISTORY]
    assert len(history.samples()) == 2 and history.samples(IMPORTED) == []


def test_others_read_it_too(history):
    history.add([a_sample(), a_sample(DECODING)])
    rows = duckdb.sql(
        f"select name, work, depth, seconds, images_per_second, window_seconds, schema_version, part "
        f"from '{history.root}/samples/*.parquet' order by work"
    ).fetchall()
    (part,) = (history.root / "samples").iterdir()
    outcome = an_outcome()
    told = (outcome.seconds, outcome.images_per_second, [1 / 3, 2e-300], VERSION, part.stem)
    assert rows == [(DECODING.label, "decoding", 20, *told), (TRAIN.label, "train", 8, *told)]


def test_columns_are_named_once_and_have_a_place_for_every_field():
    for schema, records in ((SAMPLES, (Taking, Outcome)), (MARKS, (Mark,)), (CALIBRATIONS, (Calibration,))):
        assert len(set(schema.names)) == len(schema.names)
        assert {field.name for record in records for field in dataclasses.fields(record)} <= set(schema.names)


# ---- many writers ----


def _add_many(root, name, together):
    history = History(root)
    together.wait()
    for number in range(20):
        history.add([a_sample(measurement_id=f"{name}-{number}")])
        history.add_host(a_host())


def test_two_writers_at_once_lose_nothing(history):
    context = multiprocessing.get_context("fork")
    together = context.Barrier(2)
    writers = [context.Process(target=_add_many, args=(history.root, name, together)) for name in "ab"]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    assert [writer.exitcode for writer in writers] == [0, 0]
    found = sorted(sample.taking.measurement_id for sample in history.samples())
    assert found == sorted(f"{name}-{number}" for name in "ab" for number in range(20))
    assert list(history.hosts()) == [a_host().id]
    assert not list(history.root.rglob("*.tmp"))


def test_histories_are_merged_by_copying(tmp_path):
    one, other, both = (History(tmp_path / name) for name in ("one", "other", "both"))
    for history, number in ((one, 0), (other, 1)):
        history.add([a_sample(measurement_id=f"m{number}", host_id=a_host(cores=2 + number).id)])
        history.accept([a_mark(note=str(number))])
        history.calibrate([a_calibration(calibration_id=str(number))])
        history.add_host(a_host(cores=2 + number))
    for source in (one, other, one):  # twice changes nothing
        shutil.copytree(source.root, both.root, dirs_exist_ok=True)
    assert in_order(both.samples()) == in_order([*one.samples(), *other.samples()])
    assert {mark.note for mark in both.marks()} == {c.calibration_id for c in both.calibrations()} == {"0", "1"}
    assert both.hosts() == one.hosts() | other.hosts() and len(both.hosts()) == 2


def test_many_parts_are_read_through_a_copy_as_they_are_one_by_one(history, monkeypatch):
    monkeypatch.setattr("bench.index.MANY", 5)
    for number in range(7):
        history.add([a_sample(measurement_id=str(number)), a_sample(DECODING, measurement_id=str(number))])
    found = history.samples()
    assert (history.root / ".index" / "samples.arrow").exists() and len(found) == 14
    history.add([a_sample(measurement_id="late", committed=START + timedelta(days=9))])
    assert history.samples()[-1].taking.measurement_id == "late" and len(history.samples()) == 15
    gone = next(part for part in parts_of(history) if pq.read_metadata(part).num_rows == 2)
    gone.unlink()  # the parts are the truth, and the copy is not
    through_the_copy = history.samples()
    monkeypatch.setattr("bench.index.MANY", 10**6)
    assert in_order(through_the_copy) == in_order(history.samples()) and len(through_the_copy) == 13


def test_what_is_half_written_or_hidden_is_no_part(history):
    history.add([a_sample()])
    (part,) = (history.root / "samples").iterdir()
    for name in (f".{part.name}.123.tmp", ".hidden.parquet", "_metadata.parquet", "notes.txt"):
        part.with_name(name).write_bytes(b"half")
    assert len(history.samples()) == 1


# ---- damage, other versions ----


def parts_of(history, name="samples"):
    return sorted((history.root / name).glob("*.parquet"))


@pytest.mark.parametrize("damage", [lambda content: content[: len(content) // 2], lambda _: b"", lambda _: b"PAR1"])
def test_a_damaged_part_is_named(history, damage):
    history.add([a_sample()])
    (part,) = parts_of(history)
    history.add([a_sample()])
    part.write_bytes(damage(part.read_bytes()))
    with pytest.raises(StoreError, match=rf"{part.name}: damaged .*doctor --fix` sets it aside, and all else"):
        history.samples()
    part.unlink()
    assert len(history.samples()) == 1


def test_a_strangers_file_is_named(history):
    history.add([a_sample()])
    pq.write_table(pa.table({"name": ["x"]}), history.root / "samples" / "theirs.parquet")
    with pytest.raises(StoreError, match=r"theirs\.parquet: not a table of resbench"):
        history.samples()


@pytest.mark.parametrize("name", ["samples", "marks", "calibrations"])
def test_a_part_of_a_newer_version_is_named_and_refused(history, monkeypatch, name):
    write = {
        "samples": lambda: history.add([a_sample()]),
        "marks": lambda: history.accept([a_mark()]),
        "calibrations": lambda: history.calibrate([a_calibration()]),
    }[name]
    write()
    old = parts_of(history, name)
    with monkeypatch.context() as patch:
        patch.setattr(module, "VERSION", VERSION + 1)
        write()
    (newer,) = set(parts_of(history, name)) - set(old)
    with pytest.raises(StoreError, match=rf"{newer}: of schema version 2, and this resbench reads up to 1; upgrade"):
        getattr(history, name)()


def without(part, columns):
    table = pq.read_table(part)
    pq.write_table(table.drop_columns(columns), part)


def test_columns_that_an_older_part_lacks_have_their_defaults(history):
    """Of an outcome; of a cell, what all cells had before the field existed."""
    history.add([a_sample()])
    (part,) = parts_of(history)
    lacking = ["clock", "cpu_seconds", "steady", "trouble", "injected", "side", *HISTORICAL]
    without(part, lacking)
    (found,) = history.samples()
    assert found.benchmark == TRAIN
    assert found.outcome == replace(
        an_outcome(), **{f.name: f.default for f in dataclasses.fields(Outcome) if f.name in lacking}
    )
    assert found.outcome.seconds  # by the wall's clock
    assert (found.taking.injected, found.taking.side) == (None, None)


def test_columns_of_a_later_resbench_of_this_version_are_passed_over(history):
    history.add([a_sample()])
    (part,) = parts_of(history)
    table = pq.read_table(part)
    pq.write_table(table.append_column("of_tomorrow", pa.array([1.5])), part)
    assert history.samples() == [a_sample()]


def test_a_folder_that_cannot_be_written_is_named(history):
    history.root.mkdir()
    (history.root / "samples").write_text("a file in its way")
    with pytest.raises(StoreError, match=r"samples/[0-9a-f]{16}\.parquet: .*(exists|[Dd]irectory)"):
        history.add([a_sample()])


def test_what_is_kept_can_be_told_as_json(history):
    """As reports and CI do: no column is a Python object of ours."""
    history.add([a_sample()])
    (found,) = history.samples()
    assert json.loads(json.dumps(asdict(found.outcome)))["window_seconds"] == [1 / 3, 2e-300]
