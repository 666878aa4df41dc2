"""The page of two sides, through the command line."""

from synthetic import RECIPE, a_cell, a_curve, a_host, a_run

from bench.cli import main
from bench.store import Store


def fill(folder, error, **fields):
    store = Store(folder)
    store.add_host(a_host())
    for depth in (8, 20):
        for seed in range(3):
            cell = a_cell(depth, "none", seed, RECIPE)
            curve = a_curve(cell, error + seed / 100)
            store.commit(cell, a_run(cell, curve, **fields), curve)


def test_two_results_folders(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    fill(tmp_path / "before", 0.10)
    fill(tmp_path / "after", 0.30, images_per_second=1600.0)
    assert main(["report", "before", "after"]) == 0
    assert "reports/before-vs-after/index.html" in capsys.readouterr().out
    text = (tmp_path / "reports/before-vs-after/report.md").read_text()
    assert "6 cells are the same in both; 0 of them ended with the very same errors." in text
    assert "| plain-20 | 3 / 3 | 3 | 11.0 ± 2.5 | 31.0 ± 2.5 | +20.0 ± 0.0 |" in text
    assert "| 3,200 ± 0 | 1,600 ± 0 | -1,600 ± 0 |" in text
    assert (tmp_path / "reports/before-vs-after/tables/comparison.csv").exists()
    assert (tmp_path / "reports/before-vs-after/figures/left/errors.svg").exists()


def test_a_study_that_nothing_is_recorded_of(tmp_path, monkeypatch, capsys, study_file):
    monkeypatch.chdir(tmp_path)
    fill(tmp_path / "results", 0.1)
    path = study_file('title = "T"\nquestion = "Q?"\n[matrix]\ndata = "digits"\ndepth = 32\n')
    assert main(["report", "results", str(path)]) == 2
    assert f"no run of {path.stem} is recorded" in capsys.readouterr().err
