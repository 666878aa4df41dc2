"""The commands of the long history from end to end, by a scripted measuring layer."""

import json
from datetime import timedelta
from xml.etree import ElementTree

import pytest
from scripted import MB, START, WOBBLE, bad, benchmarks, failed, on, outcome, scripted, this_host
from synthetic import a_host

from bench.cli import main
from bench.history import History, sample_of
from bench.sample import CONFIRMATION, HISTORY, Taking

# --- measure


def test_measure_adds_to_the_history(place, monkeypatch, capsys):
    def script(name, benchmark, number):  # noqa: ARG001
        return failed("needs JPEGs", "refused") if benchmark.work == "inference" else (0.01, 0.03, 0.02)[number]

    scripted(monkeypatch, script)
    assert on(place, "measure") == 0
    text = capsys.readouterr().out
    assert "1,600" in text and "inference ResNet-8-A, batch 128, digits: not measured: needs JPEGs" in text
    samples = History(place / "results").samples()
    assert len(samples) == 6 and {s.taking.purpose for s in samples} == {HISTORY}
    scripted(monkeypatch, lambda *_: failed())
    assert on(place, "measure") == 4


def test_benchmarks_of_one_name_have_a_row_each(place, monkeypatch, capsys):
    scripted(monkeypatch, lambda name, benchmark, number: 0.01 if benchmark.cell.recipe.flip else 0.02)  # noqa: ARG005
    assert on(place, "measure", "--only", "work=train", "--set", "flip=[true, false]") == 0
    rows = [line for line in capsys.readouterr().out.splitlines() if line.startswith("train")]
    assert len(rows) == 2 and "3,200" in rows[0] + rows[1] and "1,600" in rows[0] + rows[1]


# --- gate and accept


def remember(place, *seconds, host=None, threads=1):
    """A history of points, the last of which is of a day ago."""
    history, host = History(place / "results"), host or this_host()
    history.add_host(host)
    samples = []
    for day, each in enumerate(seconds, start=-len(seconds)):
        at = START + timedelta(days=day)
        commit = f"{day % 97:02d}" * 20
        taking = Taking(f"m{day}", HISTORY, None, None, commit, False, at, host.id, "cpu", threads, None, at)
        for benchmark in benchmarks(place):
            made = outcome(each * WOBBLE[day % 4])
            samples.append(sample_of(benchmark, taking, made))
    history.add(samples)


def gated(place, monkeypatch, seconds, again=None, code=0, **fields):
    """The gate's exit code is as expected; its JSON and Markdown."""

    def script(name, benchmark, number):  # noqa: ARG001
        return outcome((seconds if number < 3 else again or seconds) * WOBBLE[number % 4], **fields)

    scripted(monkeypatch, script)
    files = place / "gate.json", place / "gate.md", place / "gate.xml"
    assert (
        on(place, "gate", *(w for pair in zip(("--json", "--markdown", "--junit"), files, strict=True) for w in pair))
        == code
    )
    ElementTree.parse(files[2])
    return json.loads(files[0].read_text())["verdicts"], files[1].read_text()


def test_the_gate_from_its_first_point_on(place, monkeypatch, capsys):
    verdicts, _ = gated(place, monkeypatch, 0.01, code=3)
    assert {v["because"] for v in verdicts} == {"the first point of its history: reported only"}
    for n in range(1, 10):
        verdicts, _ = gated(place, monkeypatch, 0.01, code=3)
        assert {v["because"] for v in verdicts} == {f"too few points to judge ({n} of 10): reported only"}
    verdicts, _ = gated(place, monkeypatch, 0.01)
    assert {v["because"] for v in verdicts} == {None} and {v["ruling"] for v in verdicts} == {"no regression"}
    assert "by its history" in capsys.readouterr().out


def test_the_gate_measures_again_what_is_out_of_line(place, monkeypatch, capsys):
    remember(place, *[0.01] * 20)
    verdicts, text = gated(place, monkeypatch, 0.012, code=1)
    assert {(v["ruling"], v["confirmed"]) for v in verdicts} == {("regression", True)} and text.startswith("### ✘ ")
    assert len(History(place / "results").samples(CONFIRMATION)) == 6
    verdicts, _ = gated(place, monkeypatch, 0.012, again=0.01)
    assert {(v["ruling"], v["confirmed"]) for v in verdicts} == {("no regression", False)}
    assert "was seen, and" in capsys.readouterr().out


def test_fewer_points_are_reported_however_slow(place, monkeypatch):
    remember(place, *[0.01] * 9)
    verdicts, text = gated(place, monkeypatch, 0.03, code=3)
    assert {v["ruling"] for v in verdicts} == {"inconclusive"} and text.startswith("### ? ")


def test_an_open_regression_until_it_is_accepted(place, monkeypatch, capsys):
    remember(place, *[0.01] * 20, *[0.012] * 20)
    verdicts, _ = gated(place, monkeypatch, 0.012, code=1)
    assert all("neither accepted nor gone" in v["because"] for v in verdicts)
    assert on(place, "accept", "--note", "exact sums", "--only", "work=train", "--commit", ".") == 0
    verdicts, _ = gated(place, monkeypatch, 0.012, code=1)
    assert [v["ruling"] for v in verdicts] == ["inconclusive", "regression"]
    assert on(place, "accept", "--note", "here too", "--host", this_host().id, "--commit", ".") == 0
    gated(place, monkeypatch, 0.012, code=3)  # at a new level there are no points yet
    marks = History(place / "results").marks()
    assert {(mark.note, mark.host_id) for mark in marks} == {("exact sums", None), ("here too", this_host().id)}
    assert "accepted from" in capsys.readouterr().out


def test_an_open_regression_until_it_is_gone(place, monkeypatch):
    remember(place, *[0.01] * 20, *[0.012] * 20)
    verdicts, _ = gated(place, monkeypatch, 0.01)
    assert {v["ruling"] for v in verdicts} == {"improvement"}


def test_grown_memory_until_it_is_accepted(place, monkeypatch):
    remember(place, *[0.01] * 3)
    verdicts, text = gated(place, monkeypatch, 0.01, code=1, peak_rss_bytes=350 * MB)
    assert {v["ruling"] for v in verdicts} == {"inconclusive"} and all(v["worse"] for v in verdicts)
    assert "resident memory 100.0 → 150.0 MB (+50.0%)" in text.replace("\\", "")
    gated(place, monkeypatch, 0.01, code=1, peak_rss_bytes=350 * MB)
    assert on(place, "accept", "--note", "keeps its batches", "--commit", ".") == 0
    gated(place, monkeypatch, 0.01, code=3, peak_rss_bytes=350 * MB)


def test_other_hosts_never_count_and_the_note_says_what_differs(place, monkeypatch):
    there = a_host(torch="1.0")
    remember(place, *[0.001] * 20, host=there)
    remember(place, *[0.001] * 20, threads=2)
    verdicts, text = gated(place, monkeypatch, 0.01, code=3)
    assert {v["because"] for v in verdicts} == {"the first point of its history: reported only"}
    plain = text.replace("\\", "")
    assert (
        f"Not compared with host {there.id}: CPU Imagined CPU against" in plain and "torch 1.0 against 2.11.0" in plain
    )
    assert "otherwise on this host: device cpu against cpu; threads 2 against 1." in plain


def test_the_gate_of_what_fails(place, monkeypatch):
    scripted(monkeypatch, lambda *_: failed())
    assert on(place, "gate") == 4  # it never gave a time
    remember(place, *[0.01] * 3)
    assert on(place, "gate") == 1
    scripted(monkeypatch, lambda *_: failed("needs a GPU", "refused"))
    assert on(place, "gate") == 4
    scripted(monkeypatch, lambda *_: outcome(trouble="thermal slowdown for 1 s"))
    assert on(place, "gate") == 3


def test_bad_acceptances(place, capsys):
    study = ("accept", place / "speed.toml", "--results", place / "results")
    bad(capsys, "--note: must say why", *study, "--note", "  ")
    bad(capsys, "the following arguments are required: --note", *study)
    bad(capsys, "none of these benchmarks was measured there", *study, "--note", "x")
    remember(place, 0.01)
    bad(capsys, "'n0pe': neither a commit", *study, "--note", "x", "--commit", "n0pe")
    bad(capsys, "not a commit", *study, "--note", "x", "--commit", place / "base")
    bad(capsys, "--host abc: no host of", *study, "--note", "x", "--host", "abc")
    assert History(place / "results").marks() == []


# --- history


def test_the_history_is_listed_and_drawn(place, capsys):
    remember(place, *[0.01 * 1.001 ** (n % 3) for n in range(12)])
    assert on(place, "history", "--reports", place / "pages") == 0
    out = capsys.readouterr().out
    assert all(benchmark.label in out for benchmark in benchmarks(place))
    page = place / "pages" / "speed-history" / "index.html"
    assert f"report: {page}" in out and page.exists()
    drawn = page.read_text()
    assert on(place, "report", "--reports", place / "pages") == 0  # of a study of benchmarks the same
    assert page.read_text() == drawn


def test_the_history_of_everything_with_what_is_imported(place, capsys):
    remember(place, *[0.01] * 3)
    foreign = {"machine_info": {}, "datetime": "2026-01-02T00:00:00+00:00"}
    foreign |= {"benchmarks": [{"fullname": "tests/x.py::test_y", "stats": {"median": 0.5, "data": [0.5, 0.6]}}]}
    (place / "x.json").write_text(json.dumps(foreign))
    everything = ["history", "--results", place / "results", "--reports", place / "pages", "--import", place / "x.json"]
    assert main(list(map(str, everything))) == 0
    assert "1 benchmarks imported" in (out := capsys.readouterr().out) and "tests/x.py::test\\_y" not in out
    assert (place / "pages" / "history" / "report.md").read_text().count("test\\_y") >= 1
    assert main(list(map(str, everything))) == 0
    assert "are there already" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("more", "expected"),
    [
        (["--only", "work=train"], "--only: of which study"),
        (["--import", "nowhere.json"], "nowhere.json: cannot be read"),
        ([], "no measurement"),
    ],
)
def test_no_history(place, capsys, more, expected):
    assert main(["history", "--results", str(place / "results"), *more]) == 2
    said = capsys.readouterr().err
    assert expected in said and said.count("\n") == 1
