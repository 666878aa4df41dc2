"""What tests share: a results folder and cache of their own, and small studies."""

from __future__ import annotations

import os
import shutil
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parent.parent
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
sys.path[:0] = [str(ROOT / "tests"), str(ROOT / "tests" / "perf")]


@pytest.hookimpl(optionalhook=True)
def pytest_benchmark_update_machine_info(machine_info: dict[str, Any]) -> None:
    """Say in a file of `--benchmark-json` which host this is, on its first GPU if there is one (`bench.foreign`)."""
    import torch

    from bench.host import Toolkit, describe, gpus

    there = torch.cuda.is_available()
    toolkit = Toolkit(str(torch.__version__), torch.version.cuda, torch.backends.cudnn.version(), there)
    machine_info["resbench_host"] = asdict(describe(toolkit, next(iter(gpus()), None) if there else None))


@pytest.fixture(scope="session", autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory) -> None:
    os.environ["RESBENCH_CACHE"] = str(tmp_path_factory.mktemp("cache"))


@pytest.fixture
def fresh_cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """For a test that must find no data set in the cache."""
    monkeypatch.setenv("RESBENCH_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def study_file(tmp_path: Path):
    """Write a study file from its text and return its path."""

    def write(text: str, name: str = "study.toml") -> Path:
        path = tmp_path / name
        path.write_text(text)
        return path

    return write


@pytest.fixture(scope="module")
def one_thread():
    """For tests of bits, which are the same for one number of torch's threads."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def torch_settings():
    """For tests that call what sets up a child process: torch's settings as they were, afterwards."""
    import torch

    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)
    torch.set_flush_denormal(False)


@pytest.fixture(scope="module")
def digits():
    """The built-in data set."""
    from bench import dataset
    from bench.source import Source

    return dataset.load(Source.parse("digits"))


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where a study of benchmarks and two checkouts are; commands run in the repository (`scripted`)."""
    from scripted import STUDY, a_folder

    monkeypatch.chdir(ROOT)
    (tmp_path / "speed.toml").write_text(STUDY)
    for name in ("base", "head"):
        a_folder(tmp_path, name)
    return tmp_path


@pytest.fixture(scope="module")  # no longer: its end waits for all processes that were forked meanwhile
def browser():
    """Debian's Chromium."""
    if CHROMIUM is None:
        pytest.skip("no Chromium on this machine")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        found = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield found
        found.close()
