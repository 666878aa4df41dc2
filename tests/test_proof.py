"""The proof that a slowdown is found (`make proof`) is a benchmark; that its patch still applies is checked here."""

import subprocess
import time
from types import SimpleNamespace

from conftest import ROOT

PATCH = ROOT / "tests" / "perf" / "slowdown.patch"


def test_the_patch_applies_and_takes_a_tenth_longer(tmp_path, monkeypatch):
    (tmp_path / "bench").mkdir()
    (tmp_path / "bench" / "train.py").write_text((ROOT / "bench" / "train.py").read_text())
    subprocess.run(["git", "apply", PATCH], cwd=tmp_path, check=True)
    module = {"__name__": "slowed"}
    exec(compile((tmp_path / "bench" / "train.py").read_text(), "train.py", "exec"), module)
    now = [0.0]

    def look():
        now[0] += 0.001
        return now[0]

    def step(training):
        now[0] += 1.0
        training.iteration += 1

    monkeypatch.setattr(time, "perf_counter", look)
    training = module["Training"].__new__(module["Training"])
    training.iteration, training._stream = 0, None
    training._training = module["Stopwatch"](module["torch"].device("cpu"))
    monkeypatch.setattr(module["Training"], "module", SimpleNamespace(train=lambda: None))
    monkeypatch.setattr(module["Training"], "_advance_one", step)
    training.advance(10)
    assert 10 * 1.1 < now[0] < 10 * 1.11
