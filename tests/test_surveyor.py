"""What a survey tells of nets and data."""

import torch
from albums import folder
from children import Caller
from synthetic import a_cell

from bench import surveyor
from bench.cell import Arch, values
from bench.cost import cost_of


def test_a_survey_tells_what_only_torch_knows():
    arch = values(a_cell(20, "A").arch)
    shapes = {"cifar10": (3, 32, 10), "folder:imagenet": (3, 224, 1000)}
    nets = [("cifar10", 0, arch, shapes["cifar10"]), ("digits", 0, arch, None)]
    nets.append(("folder:imagenet", 224, arch | {"family": "imagenet", "depth": 18}, shapes["folder:imagenet"]))
    answer = surveyor.survey({"sources": [("digits", False)], "nets": nets}, Caller())
    assert [parameters for parameters, _, _ in answer["costs"]] == [269_722, 269_722 - 288, 11_515_688]
    assert answer["toolkit"].torch == torch.__version__
    assert len(answer["checksums"]) == 1  # what has a shape is not read


def test_a_survey_of_files(tmp_path, monkeypatch):
    monkeypatch.setenv("RESBENCH_CACHE", str(tmp_path / "cache"))
    source = f"folder:{folder(tmp_path / 'photographs')}"
    arch = values(Arch("imagenet", 50, "B", width=1 / 16))
    found = surveyor.survey({"sources": [(source, True)], "nets": [(source, 32, arch, None)]}, Caller())
    net = cost_of(Arch(**arch), channels=3, size=32, classes=2)
    assert found["costs"] == [(net.parameters, net.multiply_adds, net.activation_bytes)]
    assert len(found["checksums"][0]) == 64
