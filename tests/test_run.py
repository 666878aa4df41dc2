"""A finished run: final, best-on-validation and best-on-test stay apart."""

import dataclasses
import subprocess

import pytest
from synthetic import a_cell, a_curve, a_run

from bench import run
from bench.store import Store


def test_final_and_best_are_kept_apart():
    cell = a_cell()
    curve = [
        dataclasses.replace(point, train_error=0.5 - i / 10, validation_error=v, test_error=t)
        for i, (point, v, t) in enumerate(zip(a_curve(cell), [0.4, 0.2, 0.3, 0.3], [0.5, 0.4, 0.1, 0.2], strict=True))
    ]
    found = run.results(curve)
    assert (found["iteration"], found["final_train_error"], found["final_test_error"]) == (100, 0.5 - 3 / 10, 0.2)
    assert (found["best_validation_error"], found["best_validation_iteration"]) == (0.2, 50)
    assert found["test_error_at_best_validation"] == 0.4
    assert (found["best_test_error"], found["best_test_iteration"]) == (0.1, 75)


def test_images_a_second_are_all_images_over_all_training_seconds():
    """100 images in 1 s, then 300 in 2 s."""
    first, second = a_curve(a_cell())[:2]
    first = dataclasses.replace(first, images_per_second=100.0, train_seconds=1.0)
    second = dataclasses.replace(second, images_per_second=150.0, train_seconds=3.0)
    assert run.results([first, second])["images_per_second"] == pytest.approx(400 / 3)


def test_no_curve_leaves_every_result_empty():
    assert set(run.results([]).values()) == {None}


def test_a_row_has_the_runs_and_the_cells_fields():
    cell = a_cell(depth=20, seed=3)
    row = run.row(cell, a_run(cell, a_curve(cell)))
    assert (row["depth"], row["seed"], row["outcome"]) == (20, 3, "done")


def test_provenance_names_the_commit_git_names():
    found = run.provenance()
    answer = subprocess.run(
        ["git", "rev-parse", "HEAD"], capture_output=True, text=True, cwd=run.__file__.rpartition("/")[0]
    )
    assert found.commit == (answer.stdout.strip() or None)
    assert found.torch_version[0].isdigit()


def test_without_git_there_is_no_commit(monkeypatch):
    monkeypatch.setenv("PATH", "")
    run.provenance.cache_clear()
    assert (run.provenance().commit, run.provenance().dirty) == (None, None)
    run.provenance.cache_clear()


def test_code_with_changes_is_told_and_results_are_no_changes(tmp_path, monkeypatch):
    package, author = tmp_path / "package", ["-c", "user.name=a", "-c", "user.email=a@b"]
    package.mkdir()
    (package / "run.py").write_text("1")
    for command in (["init", "-q"], ["add", "."], [*author, "commit", "-q", "-m", "first"]):
        subprocess.run(["git", *command], cwd=tmp_path, check=True)
    monkeypatch.setattr(run, "__file__", str(package / "run.py"))
    (tmp_path / "results.parquet").write_text("")
    assert run.provenance.__wrapped__().dirty is False
    (package / "run.py").write_text("2")
    changed = run.provenance.__wrapped__()
    assert changed.dirty is True
    head = subprocess.run(["git", "rev-parse", "HEAD"], cwd=tmp_path, capture_output=True, text=True).stdout.strip()
    assert changed.commit == head


def test_an_error_that_names_a_file_whose_name_is_no_text_is_recorded(tmp_path):
    cell, store = a_cell(), Store(tmp_path)
    store.commit(cell, a_run(cell, [], error="b\udce9b\u00e9.png: \x1b[31mbad", log="one\ntwo\udcff"), [])
    (found,) = store.runs().to_pylist()
    assert (found["error"], found["log"]) == ("b\ufffdb\u00e9.png: \ufffd[31mbad", "one\ntwo\ufffd")
