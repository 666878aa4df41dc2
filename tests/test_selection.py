"""What --set, --only and --name select of a study."""

from argparse import Namespace

import pytest
from conftest import ROOT
from scripted import STUDY

from bench import selection
from bench.errors import InputError

TWO = STUDY.replace("depth = 8", "depth = [8, 14]\nseed = [0, 1]")
NETS = TWO.replace('[bench]\nwork = ["train", "inference"]\n', "")


@pytest.fixture
def options(study_file):
    def made(text=TWO, **fields):
        plain = {"study": str(study_file(text)), "set": [], "name": None, "only": None}
        return Namespace(**(plain | fields))

    return made


def chosen(options):
    return [(b.work, b.cell.arch.depth) for b in selection.benchmarks(options, selection.study(options))]


@pytest.mark.parametrize(
    ("only", "expected"),
    [
        (None, [("train", 8), ("train", 14), ("inference", 8), ("inference", 14)]),
        ("work=train", [("train", 8), ("train", 14)]),
        ("depth=14", [("train", 14), ("inference", 14)]),
        ("work=inference|train,depth=8", [("train", 8), ("inference", 8)]),
        (" work =inference, depth=8|14", [("inference", 8), ("inference", 14)]),
        ("data=digits,depth=8", [("train", 8), ("inference", 8)]),
    ],
)
def test_benchmarks_of_a_selection(options, only, expected):
    assert chosen(options(only=only)) == expected


@pytest.mark.parametrize(
    ("only", "told"),
    [
        ("", "must be KEY=VALUE,KEY=VALUE"),
        ("work", "must be KEY=VALUE,KEY=VALUE"),
        ("work=train,", "must be KEY=VALUE,KEY=VALUE"),
        ("work=nonsense", "work = 'nonsense' is not allowed; allowed: train, inference,"),
        ("work=[1]", "work = [1] is not allowed"),
        ("work=3", "work = 3 is not allowed"),
        ("work=train|x", "work = 'x' is not allowed"),
        ("depth=20", "no benchmark of study matches"),
        ("seed=0", "no benchmark of study matches"),  # a benchmark has none
        ("dpeth=8", "dpeth"),
        ("depth=x", "depth"),
    ],
)
def test_selections_that_select_nothing(options, only, told):
    with pytest.raises(InputError) as error:
        chosen(options(only=only))
    assert told in str(error.value) and "\n" not in str(error.value) and f"--only {only}" in str(error.value)


def test_cells_and_benchmarks_are_apart(options):
    nets = options(NETS)
    assert len(selection.cells(nets, selection.study(nets))) == 4
    with pytest.raises(InputError, match=r"has no \[bench\] table"):
        selection.benchmarks(nets, selection.study(nets))
    timed = options()
    with pytest.raises(InputError, match="times benchmarks and trains no nets"):
        selection.cells(timed, selection.study(timed))
    nets = options(NETS, only="seed=1,depth=8")
    assert [(c.seed, c.arch.depth) for c in selection.cells(nets, selection.study(nets))] == [(1, 8)]
    assert selection.seeds_by_hand(nets) and not selection.seeds_by_hand(options())
    with pytest.raises(InputError, match="no cell of study matches"):
        nets = options(NETS, only="seed=7")
        selection.cells(nets, selection.study(nets))


def test_settings_and_names(options):
    assert chosen(options(set=["depth=20"])) == [("train", 20), ("inference", 20)]
    assert selection.study(options(NETS, set=["base=imagenet-90", "iterations=400000"])).nets[0].recipe.crop_size == 224
    assert selection.study(options(name="other.name-2_")).name == "other.name-2_"
    for fields, told in (
        ({"name": "a/b"}, "--name"),
        ({"set": ["depth"]}, "--set depth: must be KEY=VALUE"),
        ({"set": ["dpeth=8"]}, "--set dpeth=8"),
        ({"set": ["depth=9"]}, "depth = 9 is not allowed"),
    ):
        with pytest.raises(InputError, match=told):
            selection.study(options(**fields))


def test_every_study_of_benchmarks_here_is_selected_whole(monkeypatch):
    monkeypatch.chdir(ROOT)
    for name in ("throughput-short", "throughput", "throughput-imagenet"):
        options = Namespace(study=name, set=[], name=None, only=None)
        found = selection.benchmarks(options, selection.study(options))
        assert len(found) >= 5 and len(found) == len({b.id for b in found}) == len({b.label for b in found})
