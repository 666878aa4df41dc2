"""A workflow's jobs, read from its file, and their shell steps run here as a runner would.

python tests/workflow.py .github/workflows/tests.yml tests      runs a job's steps in this folder, for real
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml


@dataclass(frozen=True)
class Step:
    """One step: a shell text or an action, not both."""

    name: str
    run: str | None
    uses: str | None
    condition: str
    env: Mapping[str, str]

    @property
    def after_failure(self) -> bool:
        """Whether it runs though an earlier step failed."""
        return "!cancelled()" in self.condition


@dataclass(frozen=True)
class Job:
    """One job of a workflow; its permissions are the workflow's where it has none of its own."""

    name: str
    steps: tuple[Step, ...]
    runs_on: tuple[str, ...]
    permissions: Mapping[str, str] | None
    condition: str
    timeout: int | None

    @property
    def own_machine(self) -> bool:
        """Whether it runs on a machine of the repository's owner."""
        return "self-hosted" in self.runs_on


@dataclass(frozen=True)
class Workflow:
    """A file of .github/workflows."""

    events: frozenset[str]
    jobs: Mapping[str, Job]

    @classmethod
    def read(cls, path: Path) -> Workflow:
        """The workflow in a file."""
        tree = yaml.safe_load(path.read_text())
        jobs = {name: _job(name, job, tree.get("permissions")) for name, job in tree["jobs"].items()}
        return cls(frozenset(tree[True]), jobs)  # YAML 1.1 reads the key `on` as true


def _job(name: str, tree: dict[str, Any], permissions: Mapping[str, str] | None) -> Job:
    where = tree["runs-on"]
    return Job(
        name,
        tuple(_step(step) for step in tree["steps"]),
        tuple([where] if isinstance(where, str) else where),
        tree.get("permissions", permissions),
        tree.get("if", ""),
        tree.get("timeout-minutes"),
    )


def _step(tree: dict[str, Any]) -> Step:
    name = tree.get("name") or tree.get("uses") or tree["run"]
    return Step(name, tree.get("run"), tree.get("uses"), tree.get("if", ""), tree.get("env", {}))


def perform(
    job: Job, folder: Path, summary: Path, env: Mapping[str, str] = os.environ, context: Mapping[str, str] | None = None
) -> dict[str, int]:
    """Run a job's shell steps in `folder`; returns the exit code of each step that ran, in order.

    Actions are left out: `folder` is what a checkout gives. `context` holds what expressions in a step's `env` stand
    for, as {"github.token": …}.

    Raises:
        KeyError: when a step's `env` has an expression that `context` lacks.
    """
    codes: dict[str, int] = {}
    for step in job.steps:
        if step.run is None or (any(codes.values()) and not step.after_failure):
            continue
        own = {key: _filled(str(value), context or {}) for key, value in step.env.items()}
        variables = {**env, **own, "GITHUB_STEP_SUMMARY": str(summary), "GITHUB_ACTIONS": "true", "CI": "true"}
        shell = ["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", step.run]
        codes[step.name] = subprocess.run(shell, cwd=folder, env=variables, check=False).returncode
    return codes


def _filled(text: str, context: Mapping[str, str]) -> str:
    return re.sub(r"\$\{\{\s*(.+?)\s*\}\}", lambda found: context[found[1]], text)


def main(file: str, name: str) -> int:
    """Run one job here; its summary is printed at the end."""
    summary = Path("reports", "summary.md")
    summary.parent.mkdir(exist_ok=True)
    summary.write_text("")
    codes = perform(Workflow.read(Path(file)).jobs[name], Path.cwd(), summary)
    print(summary.read_text(), *(f"{code} {step}" for step, code in codes.items()), sep="\n")
    return int(any(codes.values()))


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
