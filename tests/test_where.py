"""Options of engines: those of another are refused, and one that is not installed says how it would be."""

import importlib.util

import pytest

from bench.cli import main
from bench.errors import InputError
from bench.where import Where


@pytest.mark.parametrize("on,option,takers", [
    ("local", ("--address", "auto"), "--on ray"),
    ("local", ("--shared", "s3://x/y"), "--on ray or --on slurm"),
    ("ray", ("--partition", "gpu"), "--on slurm"),
    ("ray", ("--time-limit", "60"), "--on slurm"),
    ("local", ("--slurm", "mem=4G"), "--on slurm"),
    ("slurm", ("--address", "auto"), "--on ray"),
    ("ray", ("--gang", "2"), "--on local"),
])  # fmt: skip
def test_options_that_belong_elsewhere_are_refused_in_a_line(tmp_path, capsys, on, option, takers):
    assert main(["run", "degradation", "--on", on, *option, "--results", str(tmp_path / "results")]) == 2
    assert capsys.readouterr().err == f"resbench: error: {option[0]}: only with {takers}\n"
    assert not (tmp_path / "results").exists()


@pytest.mark.parametrize("on,name", [("ray", "Ray"), ("slurm", "submitit")])
def test_an_engine_that_is_not_installed_says_how_to_install_it(monkeypatch, on, name):
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    with pytest.raises(InputError) as caught:
        Where(on).check()
    assert str(caught.value) == f"--on {on} needs {name}: pip install 'resbench[{on}]'"
    Where("local").check()


def test_an_option_of_sbatch_has_a_name(capsys):
    with pytest.raises(SystemExit):
        main(["run", "degradation", "--on", "slurm", "--slurm", "=4G"])
    assert "KEY=VALUE, as mem=4G" in capsys.readouterr().err
