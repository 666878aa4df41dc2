"""Files of others are read, and never run: what the code calls, and a hostile pickle wherever one may lie."""

import ast
import io
import pickle
import re
import subprocess
import tarfile
from hashlib import md5
from pathlib import Path

import numpy as np
import pytest
import torch
from children import Caller
from conftest import ROOT
from synthetic import RECIPE, a_cell
from torchvision import datasets

from bench import album, builtin, cli, dataset, pixels, weights, worker
from bench.cell import Arch
from bench.errors import DataError, InputError
from bench.source import Source

SOURCES = [*(ROOT / "bench").glob("*.py"), *(ROOT / "tests" / "perf").glob("*.py")]
RUNS = {"eval", "exec", "compile", "__import__"}
UNPICKLERS = "pickle|cPickle|_pickle|dill|joblib|cloudpickle|marshal|shelve|yaml"


def calls(path):
    """(the name of what is called, as far as it can be read, the call)."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Call):
            yield ast.unparse(node.func), node


def keywords(call):
    return {word.arg: ast.unparse(word.value) for word in call.keywords}


EVERY = [(path.name, name, call) for path in SOURCES for name, call in calls(path)]


def named(pattern):
    return [(file, name, keywords(call)) for file, name, call in EVERY if re.fullmatch(pattern, name)]


def test_nothing_is_evaluated_or_given_to_a_shell():
    assert not [each for each in EVERY if each[1] in RUNS]
    assert not named(r"os\.(system|popen|exec\w*|spawn\w*)")
    assert not [each for each in EVERY if "shell" in keywords(each[2])]


def test_what_torch_and_numpy_read_is_data():
    (torchs,), numpys = named(r"torch\.load"), named(r"(np|numpy)\.load")
    assert torchs[0] == "saved.py" and torchs[2]["weights_only"] == "True"
    assert len(numpys) == 3 and {words["allow_pickle"] for _, _, words in numpys} == {"False"}


def test_the_one_pickle_that_is_read_is_read_as_arrays():
    assert not named(rf"({UNPICKLERS})\.(load|loads|open|Unpickler)|.*\.read_pickle|.*\.unsafe_load")
    heirs = [
        (path.name, node.name)
        for path in SOURCES
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.ClassDef) and any("Unpickler" in ast.unparse(base) for base in node.bases)
    ]
    assert heirs == [("builtin.py", "_Arrays")]


def test_archives_are_unpacked_by_the_data_filter():
    found = named(r".*\.(extractall|extract|unpack_archive)")
    assert [(file, words.get("filter")) for file, _, words in found] == [("builtin.py", "'data'")]


class Evil:
    """Makes a folder when it is unpickled."""

    def __init__(self, place):
        self.place = str(place)

    def __reduce__(self):
        return __import__("os").mkdir, (self.place,)


@pytest.fixture
def evil(tmp_path):
    """A thing that would make a folder; none is there afterwards."""
    made = tmp_path / "pwned"
    pickle.loads(pickle.dumps(Evil(made)))  # it is as bad as it says
    made.rmdir()
    yield Evil(made)
    assert not made.exists()


def a_line(text):
    return "\n" not in str(text) and "Traceback" not in str(text) and "weights_only" not in str(text)


def bare(what, path):
    path.write_bytes(pickle.dumps(what, protocol=2))


@pytest.mark.parametrize("write", [torch.save, bare])
def test_weights(tmp_path, evil, write):
    path = tmp_path / "net.pth"
    write({"net": {"fc.weight": torch.zeros(10, 64), "x": evil}}, path)
    with pytest.raises(InputError, match=r"net\.pth: not a file of weights \(.+more than tensors") as told:
        weights.load(path, Arch("imagenet", 18, "B"))
    assert a_line(told.value)


def test_weights_that_claim_more_than_they_hold(tmp_path):
    claim = {"fc.weight": torch.zeros(1).expand(10**12, 512), "conv1.weight": torch.zeros(64, 3, 7, 7)}
    torch.save(claim, tmp_path / "w")
    with pytest.raises(InputError, match=r"fc\.weight says it is 1000000000000 x 512, and the file holds less"):
        weights.load(tmp_path / "w", Arch("imagenet", 18, "B"))


@pytest.mark.usefixtures("torch_settings")
def test_a_checkpoint(tmp_path, evil, caplog):
    path, cell = tmp_path / "checkpoint.pt", a_cell(recipe=RECIPE)
    torch.save({"cell_id": cell.id, "curve": [], "net": evil}, path)
    job = {"cell": cell.flat(), "source": "digits", "device": "cpu", "threads": 1, "checkpoint": str(path)}
    job |= {"checkpoint_seconds": 1000.0, "data_sha256": None, "analysis": False, "net": None}
    answer = worker.run_cell(job, Caller())
    assert len(answer["curve"]) == 4 and path.with_suffix(".damaged").exists()
    (said,) = [record.getMessage() for record in caplog.records if "set aside" in record.getMessage()]
    assert a_line(said) and "holds more than tensors by name" in said


@pytest.mark.usefixtures("torch_settings")
def test_a_kept_net(tmp_path, evil):
    path, cell = tmp_path / "net.pt", a_cell(recipe=RECIPE)
    torch.save({"cell_id": cell.id, "net": evil}, path)
    job = {
        "cell": cell.flat(),
        "source": "digits",
        "device": "cpu",
        "threads": 1,
        "data_sha256": None,
        "net": str(path),
    }
    with pytest.raises(DataError, match=r"net\.pt: not the net of .+holds more than tensors by name") as told:
        worker.take_slices(job | {"slicing": {}}, Caller())
    assert a_line(told.value)


@pytest.mark.usefixtures("fresh_cache")
def test_batches_of_cifar(monkeypatch, evil):
    """Of the very checksum that is expected: who could forge it would still run nothing."""
    kind, content = datasets.CIFAR10, pickle.dumps({"data": np.zeros((1, 3072), np.uint8), "labels": [0], "x": evil})
    monkeypatch.setattr(kind, "train_list", [["data_batch_1", md5(content).hexdigest()]])
    folder = builtin.datasets_directory() / kind.base_folder
    folder.mkdir(parents=True)
    (folder / "data_batch_1").write_bytes(content)
    with pytest.raises(DataError, match=r"data_batch_1: not a batch of cifar10 \(it names posix\.mkdir") as told:
        dataset.load(Source.parse("cifar10"))
    assert a_line(told.value)


@pytest.mark.usefixtures("fresh_cache")
@pytest.mark.parametrize("name", ["../../pwned", "/tmp/resbench-pwned", "link"])
def test_an_archive_of_cifar_that_leads_out_of_its_folder(monkeypatch, tmp_path, name):
    kind, place = datasets.CIFAR10, builtin.datasets_directory()
    place.mkdir(parents=True)
    with tarfile.open(place / kind.filename, "w:gz") as tar:
        member = tarfile.TarInfo(name)
        if name == "link":
            member.type, member.linkname = tarfile.SYMTYPE, "../../../etc"
        tar.addfile(member, io.BytesIO())
    monkeypatch.setattr(kind, "tgz_md5", md5((place / kind.filename).read_bytes()).hexdigest())
    monkeypatch.setattr(kind, "train_list", [["data_batch_1", "0" * 32]])
    with pytest.raises(DataError, match=r"what arrived is incomplete or of a wrong checksum") as told:
        builtin.download(Source.parse("cifar10"), progress=False)
    assert a_line(told.value) and [path.name for path in place.iterdir()] == [kind.filename]
    assert not [*tmp_path.rglob("*pwned*")] and not Path("/tmp/resbench-pwned").exists()


@pytest.mark.usefixtures("fresh_cache")
def test_the_caches_of_data_sets(evil, tmp_path):
    """A cache entry that holds a pickle is made again."""
    array = np.array([evil], dtype=object)
    source = Source.parse("digits")
    before = dataset.load(source)
    entry = dataset.cache_directory() / f"{source.cache_key}.npy"
    np.save(entry, array, allow_pickle=True)
    assert dataset.load(source).sha256 == before.sha256 and np.load(entry, allow_pickle=False).dtype == np.uint8
    for name, read in (
        ("a.npz", lambda path: pixels._read(path, 8)),
        ("b.npz", lambda path: album._read(path.with_suffix(""), Source.parse(f"folder:{tmp_path}"))),
    ):
        np.savez(tmp_path / name, mean=array, train_files=array)
        assert read(tmp_path / name) is None


def test_a_study_of_a_name_that_leads_elsewhere_is_refused(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("..", ".", "$(touch pwned)", "<b>", "a\nb", "::error::x", "\x1b[31m", "x" * 101):
        Path(f"{name}.toml").write_text('title = "t"\nquestion = "q"\n[matrix]\ndata = "digits"\ndepth = 8\n')
        assert cli.main(["report", f"./{name}.toml"]) == 2
        said = capsys.readouterr().err
        assert said.count("\n") == 1 and "study's name" in said and "\x1b" not in said
    assert sorted(path.suffix for path in tmp_path.iterdir()) == [".toml"] * 8


def test_make_gives_no_name_of_a_file_to_a_shell():
    """What a shell gets of a study is what was written on its command line."""
    assert "$(shell" not in (ROOT / "Makefile").read_text()
    scripts = [str(path) for path in (ROOT / "tools").glob("*.sh")]
    found = subprocess.run(["grep", "-nE", r"\beval\b|bash -c|sh -c", *scripts], capture_output=True, text=True)
    assert not found.stdout
