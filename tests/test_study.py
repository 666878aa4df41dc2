"""Study files: those that come with resbench, and what is said of broken ones."""

import copy
import random
import re
from dataclasses import replace

import pytest
from conftest import ROOT

from bench import claim, paper, study
from bench.benchmark import benchmarks
from bench.cell import Cell
from bench.errors import FieldError, InputError
from bench.paper import Published
from bench.recipes import RECIPES

GOOD = """
title = "A study"
question = "Which?"
[matrix]
data = "digits"
depth = [8, 20]
shortcut = ["none", "A"]
seeds = 2
[recipe]
iterations = 100
batch = 32
lr = 0.1
drops = [50, 75]
flip = false
eval_every = 25
[[exclude]]
depth = 20
shortcut = "A"
[[include]]
depth = 14
[[claim]]
says = "Deeper is worse."
metric = "train_error"
left = { depth = 20, shortcut = "none" }
relation = "above"
right = { depth = 8, shortcut = "none" }
margin = 1.0
confidence = 0.9
[[figure]]
kind = "curves"
title = "Curves"
"""


def test_a_good_study(study_file):
    found = study.load(study_file(GOOD, "good.toml"))
    assert (found.name, found.title, found.question) == ("good", "A study", "Which?")
    assert len(found.cells) == (4 - 1) * 2 + 2 * 2
    assert found.cells[0].recipe.drops == (50, 75)
    assert found.claims[0].left == {"depth": (20,), "shortcut": ("none",)}
    assert found.claims[0].confidence == 0.9
    assert [figure.kind for figure in found.figures] == ["curves"]


EXPECTED = {"degradation": 48, "cifar10": 50, "cifar10-shortcuts": 45, "cifar10-short": 50}
EXPECTED |= {"imagenet-degradation": 12, "imagenet-shortcuts": 9, "imagenet-depth": 12}


def test_the_studies_that_come_along():
    studies = {path.stem: study.load(path) for path in (ROOT / "ablations").glob("*.toml")}
    assert EXPECTED.items() <= {name: len(s.cells) for name, s in studies.items()}.items()
    paper = studies["cifar10"].cells
    assert {c.arch.depth for c in paper} == {20, 32, 44, 56, 110}
    assert {c.recipe.iterations for c in paper} == {64_000}
    assert {c.recipe.warmup for c in paper if c.arch.depth == 110} == {"paper"}
    shared = set(paper) & set(studies["cifar10-shortcuts"].cells)
    assert {(c.arch.depth, c.arch.shortcut) for c in shared} == {(20, "A"), (56, "A"), (110, "A")}
    short = {c.recipe for c in studies["cifar10-short"].cells}
    assert all((r.iterations * 16, [d * 16 for d in r.drops]) == (64_000, [32_000, 48_000]) for r in short)


def test_the_studies_of_imagenet_are_the_papers_and_need_no_images():
    """Tables 2, 3 and 4: every figure of them is claimed, and recipe and data differ in nothing from section 3.4."""
    nets, claimed = set(), set()
    for name in ("imagenet-degradation", "imagenet-shortcuts", "imagenet-depth"):
        found = study.load(ROOT / "ablations" / f"{name}.toml")
        nets |= {(c.arch.depth, c.arch.shortcut) for c in found.cells}
        assert {c.data for c in found.cells} == {"folder:imagenet"}
        assert {c.recipe for c in found.cells} == {RECIPES["imagenet"].recipe}
        for stated in found.claims:
            for pair in claim.comparisons(stated, found.nets):
                if isinstance(pair.right, Published):
                    claimed.add((pair.right.table, pair.left.arch.depth, pair.left.arch.shortcut, pair.right.value))
                    assert paper.differences(pair.left, pair.right) == []
    assert nets == {
        (18, "none"),
        (18, "A"),
        (34, "none"),
        (34, "A"),
        (34, "B"),
        (34, "C"),
        (50, "B"),
        (101, "B"),
        (152, "B"),
    }
    assert {c for c in claimed if c[0] == "Table 2"} == {
        *(("Table 2", 18, "none", 27.94), ("Table 2", 18, "A", 27.88)),
        *(("Table 2", 34, "none", 28.54), ("Table 2", 34, "A", 25.03)),
    }
    assert {(d, s) for table, d, s, _ in claimed if table == "Table 3"} == nets - {
        (18, "none"),
        (18, "A"),
        (34, "none"),
    }


def test_what_the_studies_of_imagenet_take_is_timed():
    """Every net of them, in each precision: steps over the paper's batch and groups, and forward passes."""
    timed = set(study.load(ROOT / "ablations" / "throughput-imagenet.toml").benchmarks)
    for name in ("imagenet-degradation", "imagenet-shortcuts", "imagenet-depth"):
        for precision in ("fp32", "tf32", "bf16"):
            for cell in study.load(ROOT / "ablations" / f"{name}.toml", {"precision": precision}).nets:
                on_noise = Cell(cell.arch, cell.recipe, "noise224")
                assert set(benchmarks(["train", "inference"], [on_noise])) <= timed


def test_overrides_replace_axes_and_recipe_fields_wherever_they_stand(study_file):
    path = study_file(GOOD)
    found = study.load(
        path, {"depth": [8], "iterations": 200, "drops": [150], "data": "parquet:a/x", "seeds": 1}, "other"
    )
    assert found.name == "other"
    assert {c.arch.depth for c in found.cells} == {8}
    assert {c.recipe.iterations for c in found.cells} == {200}
    assert {c.recipe.drops for c in found.cells} == {(150,)}
    assert {c.data for c in found.cells} == {"parquet:x"}
    with pytest.raises(FieldError, match="drops"):
        study.load(path, {"iterations": 60})


BASED = """
title = "Based"
question = "On what?"
[matrix]
data = "folder:nowhere/imagenet"
family = "imagenet"
depth = [18, 34]
precision = ["fp32", "bf16"]
[recipe]
base = "imagenet"
batch = 64
"""


def test_a_recipe_on_the_base_of_another(study_file):
    """What stands beside `base` replaces its fields, an axis too; cells are what they would be spelled out."""
    found = study.load(study_file(BASED))
    base = RECIPES["imagenet"].recipe
    assert [c.recipe for c in found.cells[:2]] == [replace(base, batch=64, precision=p) for p in ("fp32", "bf16")]
    other = study.load(study_file(BASED), {"base": "imagenet-90", "batch": 32, "drops": [5_004]}).cells[0].recipe
    assert other == replace(RECIPES["imagenet-90"].recipe, batch=32, drops=(5_004,))
    plain = GOOD.replace("[recipe]", '[recipe]\nbase = "cifar"')
    assert study.load(study_file(plain)).cells == study.load(study_file(GOOD)).cells


@pytest.mark.parametrize("base", ['"imgaenet"', "[]", "3", '["imagenet"]'])
def test_a_base_that_is_none(study_file, base):
    with pytest.raises(InputError, match=r"\[recipe\]: base = .*allowed: cifar, imagenet, imagenet-90"):
        study.load(study_file(BASED.replace('"imagenet"\nbatch', f"{base}\nbatch")))
    with pytest.raises(InputError, match="base = 'x'"):
        study.load(study_file(BASED), {"base": "x"})


@pytest.mark.parametrize(
    ("old", "new", "named"),
    [
        ("[matrix]", "[matirx]", "unknown key 'matirx'; did you mean 'matrix'"),
        ("depth = [8, 20]", "depths = [8, 20]", "unknown key 'depths'; did you mean 'depth'"),
        ("depth = [8, 20]", "depth = [8, 21]", "depth = 21 .*20 and 26"),
        ("depth = [8, 20]", "depth = 8.0", "depth = 8.0 .*a whole number"),
        ("batch = 32", "batch = 0", "batch = 0 .*from 1 to 65,536"),
        ("batch = 32", "batch = 1" + "0" * 5000, "not valid TOML|batch"),
        ("batch = 32", "bach = 32", "did you mean 'batch'"),
        ("lr = 0.1", "lr = nan", "lr = nan"),
        ("lr = 0.1", 'lr = "fast"', "lr = 'fast' .*a number"),
        ("lr = 0.1", "lr = 0.1\nlr = 0.2", "not valid TOML"),
        ("lr = 0.1", "depth = 20", "unknown key 'depth'"),
        ("flip = false", "flip = 0", "true or false"),
        ("drops = [50, 75]", "drops = [75, 50]", "ascending"),
        ("drops = [50, 75]", "drops = [50, 100]", "iterations below the last, 100"),
        ("seeds = 2", "seeds = 2\nbatch = 16", "batch is set in .matrix. and in .recipe."),
        ("[[exclude]]\ndepth = 20", "[[exclude]]\ndepth = 32", "the exclude does nothing: 14, 20, 8"),
        ("[[exclude]]", "[exclude]", r"written as \[\[exclude\]\]"),
        ("[[include]]\ndepth = 14", "[[include]]\ndepth = 15", r"\[\[include\]\] number 1.*14 and 20"),
        ('metric = "train_error"', 'metric = "loss"', r"\[\[claim\]\] number 1: metric = 'loss'.*train_error"),
        ("left = { depth = 20", "left = { depth = 56", r"\[\[claim\]\] number 1: left selects no cell .*depth=56"),
        ("right = { depth = 8", "right = { depth = 20", r"number 1: left and right are the same net .plain-20."),
        ('right = { depth = 8, shortcut = "none" }', "", r"number 1: right: must name at least one field"),
        ("right = { depth = 8", "right = { seed = 1", r"number 1: right: seed cannot be chosen"),
        ("right = { depth = 8,", "right = {", r"number 1: plain-20 on the left has several nets"),
        ('right = { depth = 8, shortcut = "none" }', 'right = { paper = "Table 9" }', "right: paper = .Table 9."),
        ('right = { depth = 8, shortcut = "none" }', 'right = { paper = "Table 6" }', "no training error of"),
        ('metric = "train_error"', 'metric = "validation_error"', "1: plain-20 has no validation error: .*full"),
        ('metric = "train_error"', 'at = "best-on-validation"', "1: plain-20 has no validation error: .*full"),
        ('metric = "train_error"', 'metric = "top5_error"', "1: plain-20 has no top-5 test error: its crop_size is 0"),
        ('metric = "train_error"', 'metric = "top1_error_10crop"\nat = "best-on-validation"', "1: at = .*final, where"),
        ('relation = "above"', 'relation = "exceeds"', r"number 1: relation = 'exceeds' .*above, below, not above"),
        ("margin = 1.0", "margin = -1.0", r"number 1: margin = -1.0"),
        ("margin = 1.0", 'margin = "1 %"', r"number 1: margin = '1 %'"),
        ("[[claim]]", "[claim]", r"claim must be written as \[\[claim\]\]"),
        ("left = {", "lft = {", "unknown key 'lft'"),
        ("confidence = 0.9", "confidence = 95", "confidence = 95"),
        ('says = "Deeper is worse."', "", "says"),
        ('kind = "curves"', 'kind = "pie"', "curves, errors, throughput, memory"),
        ('kind = "curves"', "", "kind"),
        ('title = "A study"', "title = 3", "title = 3"),
        ('question = "Which?"', "", "question"),
        ('data = "digits"', "", "data is missing"),
        ('data = "digits"', 'data = "cifra10"', "data = 'cifra10'"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_named(study_file, old, new, named):
    assert old in GOOD
    path = study_file(GOOD.replace(old, new, 1))
    with pytest.raises(InputError) as raised:
        study.load(path)
    message = str(raised.value)
    assert re.search(named, message), message
    assert message.startswith(str(path))
    assert len(message) < 600


def test_200_mutated_files_are_read_or_refused_in_one_line(study_file):
    """Typos, wrong types, huge numbers, deletions, repeats: never another exception than a ResbenchError."""
    rng = random.Random(2015)
    values = [
        "-1",
        "0",
        "1e999",
        "nan",
        "9" * 400,
        '""',
        '"x"',
        "[]",
        "[[]]",
        "{}",
        "true",
        "1979-05-27",
        "[1, 'a']",
        "'a'",
    ]
    refused = 0
    for number in range(200):
        lines = GOOD.strip().splitlines()
        at = rng.randrange(len(lines))
        kind = rng.choice(["value", "typo", "delete", "repeat", "cut", "noise"])
        if kind == "value" and "=" in lines[at]:
            lines[at] = f"{lines[at].partition('=')[0]}= {rng.choice(values)}"
        elif kind == "typo":
            place = rng.randrange(len(lines[at]))
            lines[at] = lines[at][:place] + rng.choice("abz_=[]\"'{}.,\0é") + lines[at][place + 1 :]
        elif kind == "delete":
            del lines[at]
        elif kind == "repeat":
            lines.insert(at, copy.copy(lines[at]))
        elif kind == "cut":
            lines = lines[:at]
        else:
            lines[at] += rng.choice([" x", "]", "=", '"', "\\", "\x01"])
        path = study_file("\n".join(lines), f"mutant-{number}.toml")
        try:
            study.load(path)
        except InputError as error:
            refused += 1
            assert str(path) in str(error)
            assert "\n" not in str(error)
    assert refused > 120


def test_files_that_are_no_study(study_file, tmp_path):
    for text in ("", "\n\n", "title = 'x'", "[[" * 2000, "a = " + "[" * 100_000):
        with pytest.raises(InputError, match=r"study\.toml"):
            study.load(study_file(text))
    (tmp_path / "binary.toml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(InputError, match="not UTF-8"):
        study.load(tmp_path / "binary.toml")
    with pytest.raises(InputError, match="cannot be read"):
        study.load(tmp_path)
    with pytest.raises(InputError, match=r"no study 'nothing'.*degradation"):
        study.find("nothing")


BENCHES = """
title = "Speed"
question = "Slower?"
[bench]
work = ["train", "inference", "train"]
[matrix]
data = "digits"
depth = [8, 14]
seed = [0, 1]
"""


def test_a_study_of_benchmarks(study_file):
    """The seed is no part of a benchmark, and a kind of work named twice is one."""
    found = study.load(study_file(BENCHES))
    assert found.works == ("train", "inference")
    assert [(b.work, b.cell.arch.depth) for b in found.benchmarks] == [
        *(("train", 8), ("train", 14), ("inference", 8), ("inference", 14))
    ]
    assert study.load(study_file(BENCHES.replace('["train", "inference", "train"]', '"decoding"'))).works == (
        "decoding",
    )
    plain = study.load(study_file(BENCHES.replace('[bench]\nwork = ["train", "inference", "train"]\n', "")))
    assert plain.works == () and plain.benchmarks == ()


@pytest.mark.parametrize(
    ("bench", "told"),
    [
        ("[bench]\n", "work = 'nothing' is not allowed; allowed: train, inference, evaluation, augmentation, decoding"),
        ("[bench]\nwork = []\n", "work = 'nothing' is not allowed"),
        ('[bench]\nwork = "training"\n', "work = 'training' is not allowed"),
        ('[bench]\nwork = [["train"]]\n', r"work = \['train'\] is not allowed"),
        ("[bench]\nwork = 3\n", "work = 3 is not allowed"),
        ('[bench]\nwork = "train"\nwroks = 1\n', "wroks"),
        ('[[bench]]\nwork = "train"\n', "must be a table"),
        ('[bench]\nwork = "train"\n[[figure]]\nkind = "curves"\n', r"has no \[\[figure\]\]"),
    ],
)
def test_bench_tables_that_are_wrong(study_file, bench, told):
    text = BENCHES.replace('[bench]\nwork = ["train", "inference", "train"]\n', bench)
    with pytest.raises(InputError, match=told) as error:
        study.load(study_file(text))
    assert r"study.toml: [bench]" in str(error.value)
