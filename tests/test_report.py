"""Reports: the numbers of the tables, in Markdown and in one page that needs nothing else."""

import re
import subprocess
import sys
from dataclasses import replace

import pandas as pd
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


def rendered(made, **options) -> str:
    found, store, folder = made
    return (report.write(found, found.cells, store, folder, **options).parent / "report.md").read_text()


def test_the_tables_numbers_are_in_the_text(made):
    text = rendered(made)
    (plain20,) = re.findall(r"^\| plain-20 \| 3.*$", text, re.MULTILINE)
    # errors 50, 51, 52 %: mean 51, s = 1, half-width 4.3027 / sqrt(3) = 2.5; held out one and two points more
    assert plain20.startswith("| plain-20 | 3 | 51.0 ± 2.5 | 52.0 ± 2.5 | 53.0 ± 2.5 |")
    assert "20,000 | 200,000 | 3,200 ± 0 | 100 ± 0 | 1.5 ± 0.0 |" in plain20
    assert "**1 comparison: 1 undecided. 9 of 12 cells done, 3 seeds a net; data digits; Imagined CPU, 2 cores" in text
    assert "Machine: Imagined CPU, 2 cores, 4 GiB" in text and "torch 2.11.0" in text


def test_verdicts_come_first_and_in_words(made):
    text = rendered(made)
    # the differences of all seeds are 48 points: only the exact test speaks, and it cannot beat 1/8 at n = 3
    assert "? **undecided**: Deeper \\| is \\<i\\>worse\\</i\\>." in text
    assert (
        "plain-20 less that of plain-8: +48.00 points, claimed above 2 points; n = 3 paired seeds, p = 0.250." in text
    )
    assert "about 5 more seeds would probably decide it." in text.replace("About", "about")  # 2^-8 · 2^3 < 0.05
    assert text.index("![") < text.index("## Verdicts") < text.index("## All nets") < text.index("## Why it happens")


def test_the_constructed_solution_is_in_the_text(made):
    assert re.search(r"\| plain-20 \| plain-8 \| 3 \| 51.0 \| 3.0 \| \+48.0 ± 0.0 \| no \| 94 \|", rendered(made))


def test_tables_are_exported(made):
    rendered(made)
    found, _, folder = made
    frame = pd.read_csv(folder / found.name / "tables" / "nets.csv", index_col="net")
    assert frame.loc["plain-20", "training error, %"] == pytest.approx(51.0)
    assert frame.loc["plain-20", "training error, % ±"] == pytest.approx(4.302652729749 / 3**0.5)
    latex = (folder / found.name / "tables" / "verdicts.tex").read_text()
    assert r"\begin{tabular}" in latex and r"Deeper | is \textless{}i\textgreater{}worse" in latex


def test_further_seeds_count_and_the_page_says_how_they_came(made):
    found, store, _ = made
    further = [replace(cell, seed=seed) for cell in found.cells if cell.seed == 0 for seed in (3, 4)]
    further = [cell for cell in further if cell.arch.shortcut == "none"]
    for cell in further:
        curve = a_curve(cell, 0.5)
        store.commit(cell, a_run(cell, curve), curve)
    text = rendered(made, further=further)
    assert "| plain-20 | 5 |" in text and "3 to 5 seeds a net" in text
    assert "--set seeds=5 --only 'depth=8,shortcut=none'    # further seeds" in text


def test_published_figures_stand_beside_ours_with_what_differs(study_file, tmp_path):
    text = STUDY.replace('"digits"', '"parquet:cifar10-jpeg"').replace('["none", "A"]', '"A"').split("[[claim]]")[0]
    found, store = study.load(study_file(text)), Store(tmp_path / "results")
    store.add_host(a_host())
    for cell in found.cells:
        curve = a_curve(cell, 0.07 + cell.seed / 100)
        store.commit(cell, a_run(cell, curve), curve)
    said = (report.write(found, found.cells, store, tmp_path / "reports").parent / "report.md").read_text()
    line = "| ResNet-20-A | test error | 3 | 10.00 ± 2.48 | 8.75 | +1.25 ± 2.48 | 8.3 to 8.5 | Table 6 |"
    assert line in said  # 9, 10, 11 % in test
    assert "images of parquet:cifar10-jpeg, not the original files; iterations 100 (paper: 64,000)" in said


IMAGENET = """
title = "Many views"
question = "Which?"
[matrix]
data = "folder:imagenet"
family = "imagenet"
depth = 34
shortcut = ["A", "B"]
seeds = 2
[recipe]
base = "imagenet"
"""


def test_every_published_figure_of_a_net_stands_beside_it(study_file, tmp_path):
    """34-A is in Tables 2 and 3, 34-B in 3 and 4; of ten crops only the top-1 errors are there, of many scales both."""
    found, store = study.load(study_file(IMAGENET)), Store(tmp_path / "results")
    store.add_host(a_host())
    for cell in found.cells:
        curve = a_curve(cell, 0.25)
        tests = {"devices": 4, "top1_error_10crop": 0.25 + cell.seed / 100, "top5_error": 0.0625}
        if cell.arch.shortcut == "B":
            tests |= {"top1_error_multiscale": 0.22, "top5_error_multiscale": 0.06}
        store.commit(cell, a_run(cell, curve, **tests), curve)
    said = (report.write(found, found.cells, store, tmp_path / "reports").parent / "report.md").read_text()
    assert "time-weighted), each over 4 devices at most, one thread each" in said
    beside = said[said.index("## Against the paper") :]
    spread = "25.50 ± 6.35"  # 12.7062 * 0.7071 / sqrt(2)
    assert [line.split(" | ")[:-1] for line in beside.splitlines() if line.startswith("| ResNet")] == [
        ["| ResNet-34-A", "10-crop top-1 error", "2", spread, "25.03", "+0.47 ± 6.35", "–", "Table 2"],
        ["| ResNet-34-A", "10-crop top-1 error", "2", spread, "25.03", "+0.47 ± 6.35", "–", "Table 3"],
        ["| ResNet-34-B", "10-crop top-1 error", "2", spread, "24.52", "+0.98 ± 6.35", "–", "Table 3"],
        ["| ResNet-34-B", "multi-scale top-1 error", "2", "22.00 ± 0.00", "21.84", "+0.16 ± 0.00", "–", "Table 4"],
        [
            "| ResNet-34-B",
            "multi-scale top-5 error",
            "2",
            "6.00 ± 0.00",
            "5.71",
            "+0.29 ± 0.00",
            "–",
            "Table 4 (top-5)",
        ],
    ]
    assert beside.count("the same |") == 5
    (heads,) = re.findall(r"^\| net \| n \|.*$", said, re.MULTILINE)
    shown = [
        "top-5 test error, %",
        "10-crop top-1 error, %",
        "multi-scale top-1 error, %",
        "multi-scale top-5 error, %",
    ]
    assert [head for head in heads.split(" | ") if head in shown] == shown and "10-crop top-5" not in heads
    assert report.VIEWS_NOTE in said


def test_images_of_one_size_have_one_view(made):
    text = rendered(made)
    assert "10-crop" not in text and "top-5" not in text.lower()


def test_what_is_not_done_is_said_plainly(made):
    text = rendered(made)
    assert "- ResNet-20-A: 1 of 3 seeds not run on this host" in text
    assert "- ResNet-20-A: seed 0 failed: ZeroDivisionError: imagined" in text
    assert "- ResNet-20-A: seed 1 diverged at iteration 100" in text
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
    text = report._again(changed, [], Store(ROOT / "results"), ROOT / "reports")
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
    with pytest.raises(InputError, match=f"no run of {found.name} is recorded"):
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


def test_how_long_training_waited_for_images(made):
    found, store, _ = made
    assert "Images read" not in rendered(made)
    for cell, waited, bad in zip(
        [c for c in found.cells if c.arch.depth == 8], (1.0, 2.0, 4.0), (0, 2, 1), strict=False
    ):
        fields = {"train_seconds": 8.0, "data_seconds": waited, "loaders": 4, "bad_images": bad}
        curve = a_curve(cell, 0.1)
        store.commit(cell, replace(a_run(cell, curve), **fields), curve)
    assert (
        "Images read by 4 processes a cell; training waited for them 12 to 50 % of its time; "
        "3 that could not be decoded were skipped." in rendered(made)
    )
