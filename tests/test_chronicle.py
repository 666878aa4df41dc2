"""The report of a history: what it says of which benchmark, and that the same tables give the same bytes."""

import re
from pathlib import Path

import pytest
from histories import accepted, all_series, commit, noisy, samples
from synthetic import a_cell, a_host

from bench import chronicle
from bench.benchmark import Benchmark
from bench.errors import InputError, StoreError

OLD, NEW = a_host(gpu="Imagined GPU", driver="550.1"), a_host(gpu="Imagined GPU", driver="560.2")
STEP = noisy([0.01] * 30 + [0.0106] * 20)
NETS = [Benchmark("train", a_cell(6 * n + 2, "A")) for n in range(1, 31)]


def write(folder, found, results=Path("results")):
    return chronicle.write("Throughput", "throughput", found, folder, results)


@pytest.fixture
def report(tmp_path):
    """A step accepted on one net and open on another, on hosts of two drivers, of which one has not seen the step."""
    taken = samples(STEP, OLD, NETS[0]) + samples(STEP, OLD, NETS[1]) + samples(STEP[:5], NEW, NETS[1], first=50)
    found = all_series(taken, [accepted(30, "exact <sums> | *here*", NETS[0])], [OLD, NEW])
    page = write(tmp_path, found)
    return (page.parent / "report.md").read_text(), page


def test_the_headline_counts(report):
    assert "**2 benchmarks, 105 points, 2 hosts; 1 open regression.**" in report[0]


def test_what_is_open_is_said_first(report):
    (line,) = [line for line in report[0].splitlines() if line.startswith("- ✘")]
    assert line.startswith(f"- ✘ {NETS[1].label} on Imagined GPU, host {OLD.id}: +6.")
    assert line.endswith(f"since {commit(30)[:7]} (2026-01-09)")
    assert report[0].index(line) < report[0].index("## Trends") < report[0].index("| benchmark |")


def test_each_host_has_a_table_and_says_what_tells_it_apart(report):
    text, _ = report
    assert f"## On Imagined GPU, host {OLD.id}" in text and f"## On Imagined GPU, host {NEW.id}" in text
    assert re.search(r"Unlike host \w+: driver 5[56]0\.\d against 5[56]0\.\d\.", text)
    assert f"Host {OLD.id}: Imagined GPU" in text and "100 points, measured 2026-01-01 to 2026-01-15" in text


def test_notes_are_shown_as_they_are(report):
    text, page = report
    assert r"exact \<sums\> \| \*here\*" in text
    assert "exact &lt;sums&gt; | *here*" in page.read_text() and "<sums>" not in page.read_text()


def test_pictures_and_tables_lie_beside_the_page(report):
    text, page = report
    places = re.findall(r"\]\((figures/[^)]+)\)", text)
    assert places == [f"figures/history-{net.id}.svg" for net in (NETS[1], NETS[0])]
    assert all((page.parent / place).is_file() for place in places)
    names = {path.name for path in (page.parent / "tables").iterdir()}
    assert names == {f"{name}.{kind}" for name in ("latest", "latest-2", "changes") for kind in ("csv", "tex")}
    assert page.parent.name == "throughput-history"


def test_it_says_how_to_get_it_again(report, tmp_path):
    assert f"resbench history throughput --reports {tmp_path.as_posix()} " in report[0]
    page = write(tmp_path, all_series(samples(STEP, OLD)), Path("some where"))
    assert "resbench measure throughput --results 'some where' " in (page.parent / "report.md").read_text()


def test_the_same_tables_give_the_same_bytes(tmp_path):
    taken = samples(STEP, OLD, NETS[0]) + samples(STEP, NEW, NETS[1])
    pages = [write(tmp_path, all_series(order, hosts=[NEW, OLD])) for order in (taken, taken)]
    files = {path: path.read_bytes() for path in pages[0].parent.rglob("*") if path.is_file()}
    write(tmp_path, all_series(taken[::-1], hosts=[OLD, NEW]))
    assert {path: path.read_bytes() for path in files} == files


def test_of_very_many_benchmarks_those_that_changed_are_drawn(tmp_path, monkeypatch):
    monkeypatch.setattr(chronicle, "MOST_PICTURES", 2)
    levels = {3: STEP, 7: STEP[::-1]}
    taken = [s for n, net in enumerate(NETS) for s in samples(levels.get(n, STEP[:12]), OLD, net)]
    text = (write(tmp_path, all_series(taken, hosts=[OLD])).parent / "report.md").read_text()
    assert re.findall(r"\]\(figures/history-(\w+)\.svg\)", text) == [NETS[3].id, NETS[7].id]
    assert "Not drawn" in text
    left_out = next(line for line in text.splitlines() if "Not drawn" in line)
    assert all((net.label in left_out) == (n not in levels) for n, net in enumerate(NETS))
    assert all(f"| {net.label} |" in text for net in NETS)


def test_a_host_that_is_not_recorded_is_said_to_be(tmp_path):
    text = (write(tmp_path, all_series(samples(STEP, OLD))).parent / "report.md").read_text()
    assert f"Host {OLD.id}: what it is was not recorded; 50 points" in text


def test_nothing_measured_is_bad_input(tmp_path):
    with pytest.raises(InputError, match="no measurement of throughput"):
        write(tmp_path, [])


def test_a_folder_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "throughput-history").write_text("a file")
    with pytest.raises(StoreError, match=r"throughput-history: cannot be written: "):
        write(tmp_path, all_series(samples(STEP[:3], OLD)))
