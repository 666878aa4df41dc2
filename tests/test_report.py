"""Reports: the numbers of the tables, in Markdown and in one page that needs nothing else."""

import re
import subprocess
import sys

import pytest
from conftest import ROOT
from synthetic import a_curve, a_host, a_run

from bench import report, run, study
from bench.errors import InputError
from bench.store import Store

STUDY = """
title = "A <b>bold</b> | study"
question = "Is 1 < 2 & 3 > 2? <script>alert(1)</script>"
[matrix]
data = "digits"
depth = [8, 20]
shortcut = ["none", "A"]
seeds = 3
[recipe]
iterations = 100
batch = 32
drops = [50, 75]
eval_every = 25
split = "holdout"
[[claim]]
says = "Deeper | is <i>worse</i>."
left = { depth = 20, shortcut = "none" }
right = { depth = 8, shortcut = "none" }
margin = 2
"""


@pytest.fixture
def made(study_file, tmp_path):
    """A study with results: 20 plain layers bad, one cell failed, one diverged, one missing."""
    found, store = study.load(study_file(STUDY, "made.toml")), Store(tmp_path / "results")
    store.add_host(a_host())
    for cell in found.cells:
        deep_and_plain = cell.arch.depth == 20 and cell.arch.shortcut == "none"
        fate = {(20, "A", 0): run.FAILED, (20, "A", 1): run.DIVERGED, (20, "A", 2): None}
        outcome = fate.get((cell.arch.depth, cell.arch.shortcut, cell.seed), run.DONE)
        if outcome is None:
            continue
        error = (0.5 if deep_and_plain else 0.02) + cell.seed / 100
        curve = [] if outcome == run.FAILED else a_curve(cell, error)
        store.commit(cell, a_run(cell, curve, outcome=outcome), curve)
    return found, store, tmp_path / "reports"


def test_the_tables_numbers_are_in_the_text(made):
    found, store, folder = made
    page = report.write(found, found.cells, store, folder)
    text = (page.parent / "report.md").read_text()
    (plain20,) = re.findall(r"^\| plain-20 \|.*$", text, re.MULTILINE)
    # errors 50, 51, 52 %: mean 51, s = 1, half-width 4.3027 / sqrt(3) = 2.5; held out one and two points more
    assert plain20.startswith("| plain-20 | 3 | 51.0 ± 2.5 | 52.0 ± 2.5 | 53.0 ± 2.5 |")
    assert "20,000 | 200,000 | 3,200 ± 0 | 100 ± 0 | 1.5 ± 0.0 |" in plain20
    assert "51.0 ± 2.5 % (n=3) | above by 2 points or more | 3.0 ± 2.5 % (n=3) | +48.0 points |" in text
    assert "9 of 12 cells done, 3 seeds; data digits; Imagined CPU, 2 cores" in text
    assert "Machine: Imagined CPU, 2 cores, 4 GiB" in text and "torch 2.11.0" in text


def test_what_is_not_done_is_said_plainly(made):
    found, store, folder = made
    text = (report.write(found, found.cells, store, folder).parent / "report.md").read_text()
    assert "- ResNet-20-A: 1 of 3 seeds not run on this host" in text
    assert "- ResNet-20-A, seed 0: failed: ZeroDivisionError: imagined" in text
    assert "- ResNet-20-A, seed 1: diverged at iteration 100" in text
    assert "| ResNet-20-A | 0 | – |" in text


def test_the_page_stands_alone_and_shows_texts_as_text(made):
    found, store, folder = made
    page = report.write(found, found.cells, store, folder).read_text()
    assert "<script>alert" not in page and "<b>bold" not in page and "<i>worse" not in page
    assert "&lt;script&gt;" in page
    assert not re.search(r'(?:src|href)="(?!#|data:)', page)
    assert page.count('role="img" aria-label="Line') == 4 and "<img" not in page
    assert len(page) < 2_000_000


def test_both_pages_say_how_to_get_it_again(made):
    found, store, folder = made
    text = (report.write(found, found.cells, store, folder).parent / "report.md").read_text()
    assert f"resbench run {found.path.as_posix()} --results {store.root.as_posix()} " in text
    changed = study.load(found.path, {"depth": [8], "flip": False}, "other")
    text = report._again(changed, Store(ROOT / "results"), ROOT / "reports")
    assert "--set 'depth=[8]' --set flip=false --name other" in text


def test_a_second_host_has_its_own_part(made):
    found, store, folder = made
    there = a_host(cpu="Another CPU")
    store.add_host(there)
    missing = next(cell for cell in found.cells if len(store.runs([cell.id])) == 0)
    store.commit(missing, a_run(missing, a_curve(missing), there), a_curve(missing))
    page = report.write(found, found.cells, store, folder)
    text = (page.parent / "report.md").read_text()
    assert "# On Imagined CPU, 2 cores" in text and "# On Another CPU, 2 cores" in text
    assert (page.parent / "figures" / "host-2" / "curves.svg").exists()
    assert page.read_text().count('role="img"') == 8


def test_nothing_recorded_is_said(made, tmp_path):
    found, _, folder = made
    with pytest.raises(InputError, match="no run of this study is recorded"):
        report.write(found, found.cells, Store(tmp_path / "empty"), folder)


def test_reading_and_rendering_import_no_torch(made):
    found, store, folder = made
    code = (
        "import sys; from bench.cli import main\n"
        f"places = ['--results', {str(store.root)!r}, '--reports', {str(folder)!r}]\n"
        f"assert main(['report', {str(found.path)!r}, *places]) == 0\n"
        "assert 'torch' not in sys.modules and 'torchvision' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)
