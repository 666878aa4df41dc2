"""What a job of Slurm does: it carries out the order of one cell. (`onslurm` submits it, and hears of it.)"""

from __future__ import annotations

import contextlib
import json
import signal
from pathlib import Path
from typing import Any

from bench import remote
from bench.errors import DataError


class Errand:
    """What a job calls. Told to stop, by Slurm or by `scancel`, it saves its cell's state first."""

    def __call__(self, order: str, said: str) -> None:
        """Carry out an order, saying in the file `said`, as lines of JSON, what is told meanwhile."""
        from submitit.core.job_environment import JobEnvironment

        again = signal.Signals[f"SIG{JobEnvironment.USR_SIG}"]  # what Slurm sends before a job's time is over
        asked: list[int] = []
        requeue = signal.signal(again, signal.SIG_IGN)  # Slurm sends it to all processes of the job,
        signal.signal(signal.SIGTERM, signal.SIG_IGN)  # and the template of children is to ignore it
        with contextlib.suppress(DataError):
            remote.toolkit()
        for number in (again, signal.SIGTERM):  # the other is for a job that is preempted, or cancelled
            signal.signal(number, lambda number, _: asked.append(number))
        Path(said).parent.mkdir(parents=True, exist_ok=True)
        with Path(said).open("a") as file:

            def tell(told: dict[str, Any]) -> None:
                file.write(json.dumps(told) + "\n")
                file.flush()

            answer = remote.carry_out(order, tell, lambda: bool(asked))
        if answer and answer.death:
            print(answer.death["reason"])  # for who reads the job's log
        if answer is None and again in asked and callable(requeue):
            requeue(again, None)  # submitit's, which calls `checkpoint`, puts the job into the queue again, and exits

    def checkpoint(self, order: str, said: str) -> Any:
        """What the job is to do when it runs again: the same, from the cell's checkpoint."""
        from submitit.helpers import DelayedSubmission

        return DelayedSubmission(self, order, said)
