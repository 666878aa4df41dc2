"""What a file of `--benchmark-json` says of this machine, so that `bench.foreign` takes it for the host it is."""

from dataclasses import asdict
from typing import Any

import pytest


@pytest.hookimpl(optionalhook=True)
def pytest_benchmark_update_machine_info(machine_info: dict[str, Any]) -> None:
    """Add the host as the harness describes it, on the first GPU if there is one."""
    import torch

    from bench.host import Toolkit, describe, gpus

    there = torch.cuda.is_available()
    toolkit = Toolkit(str(torch.__version__), torch.version.cuda, torch.backends.cudnn.version(), there)
    machine_info["resbench_host"] = asdict(describe(toolkit, next(iter(gpus()), None) if there else None))
