"""Ground-truth files of flat validation folders: each published kind, and each way not to fit, told by its line."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.io import savemat

from bench.errors import DataError
from bench.groundtruth import labels

CLASSES = ("n01440764", "n01751748", "n02119789")  # tench, sea snake, kit fox: the devkit's 449, 490 and 1
NAMES = [f"ILSVRC2012_val_{n:08d}.JPEG" for n in range(1, 5)]
TRUTH = [1, 0, 2, 1]
DEVKIT = {"n02119789": 1, "n01440764": 449, "n01751748": 490}
MAP = "".join(f"{wnid} {number} words_of_it\n" for wnid, number in DEVKIT.items())
NUMBERS = "490\n449\n1\n490\n"


def meta(path):
    """A meta.mat as the devkit's: a struct array with more synsets than classes, which have children."""
    names = (
        "ILSVRC2012_ID",
        "WNID",
        "words",
        "gloss",
        "num_children",
        "children",
        "wordnet_height",
        "num_train_images",
    )
    synsets = np.zeros((4, 1), dtype=[(name, object) for name in names])
    rows = [*((number, wnid, 0) for wnid, number in DEVKIT.items()), (1001, "n00001740", 2)]
    for row, (number, wnid, children) in enumerate(rows):
        synsets[row, 0] = (float(number), wnid, "words", "gloss", float(children), [], 0.0, 1300.0)
    savemat(path, {"synsets": synsets})


def read(root, names=NAMES):
    return labels(root, root / "val", names, CLASSES)


@pytest.fixture
def root(tmp_path):
    (tmp_path / "val").mkdir()
    return tmp_path


@pytest.mark.parametrize("place", [".", "val", "ILSVRC2012_devkit_t12/data", "data"])
@pytest.mark.parametrize(
    ("file", "lines"),
    [
        ("val.txt", [f"{name} {label}" for name, label in zip(NAMES, TRUTH, strict=True)]),
        ("val.txt", [f"val/{name}\t{CLASSES[label]}" for name, label in zip(NAMES, TRUTH, strict=True)]),
        ("val.txt", [f"{name[:-5]} {label}" for name, label in zip(NAMES, TRUTH, strict=True)]),
        (
            "LOC_val_solution.csv",
            ["ImageId,PredictionString"]
            + [
                f"{name[:-5]},{CLASSES[label]} 1 2 3 4 {CLASSES[0]} 5 6 7 8 "
                for name, label in zip(NAMES, TRUTH, strict=True)
            ],
        ),
        ("imagenet_2012_validation_synset_labels.txt", [CLASSES[label] for label in TRUTH]),
    ],
)
def test_published_kinds(root, file, lines, place):
    (root / place).mkdir(parents=True, exist_ok=True)
    head = 1 if "," in lines[0] else 0
    named = [*lines[:head], *(lines[head:] if len(lines[-1].split()) == 1 else reversed(lines[head:]))]
    (root / place / file).write_text("\r\n".join([*named, "", ""]))
    assert read(root) == TRUTH


@pytest.mark.parametrize("mapping", ["meta.mat", "map_clsloc.txt"])
@pytest.mark.parametrize("place", [".", "val"])
def test_the_devkits_numbers_are_not_those_of_sorted_names(root, mapping, place):
    (root / "ILSVRC2012_validation_ground_truth.txt").write_text(NUMBERS)
    with pytest.raises(
        DataError, match=r"are the devkit's, not those of sorted.*meta\.mat or map_clsloc\.txt beside it"
    ):
        read(root)
    if mapping == "meta.mat":
        meta(root / place / mapping)
    else:
        (root / place / mapping).write_text(MAP)
    assert read(root) == TRUTH


def test_what_is_expected_is_said_where_there_is_none(root):
    with pytest.raises(DataError, match=r"val: 4 images in no class's folder; expected: a folder for each class, or a"):
        read(root)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "val.txt: empty"),
        ("a.JPEG 0\n", f"val.txt: no line for {NAMES[0]}"),
        (f"{NAMES[0]} 3\n", "val.txt, line 1: class '3'; allowed: a training class's name, or 0 to 2"),
        (f"\n{NAMES[0]} -1\n", "val.txt, line 2: class '-1'"),
        (f"{NAMES[0]} n02119790\n", "val.txt, line 1: class 'n02119790'"),
        (f"{NAMES[0]} 0\n{NAMES[0]} 1\n", f"val.txt, line 2: {NAMES[0]} is given a second class"),
        (f"{NAMES[0]} 0\n{NAMES[1]}\n", "val.txt, line 2"),
        ("0\n1\n", "val.txt: 2 lines for 4 images; expected: a line for each"),
        (f"{NAMES[0]} {'9' * 30}\n", "val.txt, line 1: class"),
    ],
)
def test_a_list_that_does_not_fit(root, text, message):
    (root / "val.txt").write_text(text)
    with pytest.raises(DataError, match=message.replace("'", ".")):
        read(root)


@pytest.mark.parametrize(
    ("numbers", "mapping", "message"),
    [
        ("490\n449\n1\n2\n", MAP, "line 4: '2'; allowed: the devkit's numbers, 1 to 490"),
        ("490\n449\n1\nx\n", MAP, "line 4: 'x'"),
        ("490\n449\n1\n", MAP, "3 lines for 4 images"),
        (
            NUMBERS,
            "n02119789 one kit_fox\n",
            "map_clsloc.txt, line 1: 'n02119789 one kit_fox'; expected: a class's name",
        ),
        (NUMBERS, MAP.replace("n01751748", "n00000000"), "line 1: class 'n00000000'"),
    ],
)
def test_numbers_that_do_not_fit(root, numbers, mapping, message):
    (root / "ILSVRC2012_validation_ground_truth.txt").write_text(numbers)
    (root / "map_clsloc.txt").write_text(mapping)
    with pytest.raises(DataError) as caught:
        read(root)
    assert message in str(caught.value)


def test_a_damaged_meta_file_is_named(root):
    (root / "ILSVRC2012_validation_ground_truth.txt").write_text(NUMBERS)
    (root / "meta.mat").write_bytes(b"junk")
    with pytest.raises(DataError, match=r"meta\.mat: not the devkit's meta\.mat"):
        read(root)


def test_a_class_named_by_a_number_is_that_class(tmp_path):
    (tmp_path / "val.txt").write_text("a.png 2\nb.png 10\n")
    assert labels(tmp_path, tmp_path / "val", ["a.png", "b.png"], ("1", "10", "2")) == [2, 1]


@given(
    st.binary(max_size=200),
    st.sampled_from(["val.txt", "LOC_val_solution.csv", "ILSVRC2012_validation_ground_truth.txt", "map_clsloc.txt"]),
)
def test_any_file_gives_labels_or_one_line(tmp_path_factory, content, file):
    root = tmp_path_factory.mktemp("any")
    (root / "ILSVRC2012_validation_ground_truth.txt").write_text(NUMBERS)
    (root / "map_clsloc.txt").write_text(MAP)
    (root / file).write_bytes(content)
    try:
        found = read(root)
    except DataError as error:
        assert "\n" not in str(error)
        return
    assert len(found) == 4 and set(found) <= {0, 1, 2}


@given(
    st.lists(
        st.tuples(
            st.text(
                st.characters(exclude_characters="\0/\n\r", exclude_categories=("Cs", "Zs", "Zl", "Zp", "Cc")),
                min_size=1,
                max_size=20,
            ),
            st.sampled_from(CLASSES),
        ),
        min_size=1,
        unique_by=lambda each: each[0],
    )
)
def test_names_of_any_characters(tmp_path_factory, images):
    root = tmp_path_factory.mktemp("any")
    (root / "val.txt").write_text("".join(f"{name}.png {wnid}\n" for name, wnid in images), encoding="utf-8")
    names = [f"{name}.png" for name, _ in images]
    assert labels(root, root / "val", names, CLASSES) == [CLASSES.index(wnid) for _, wnid in images]
