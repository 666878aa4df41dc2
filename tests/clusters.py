"""Clusters on this machine's loopback, for tests of engines, and what two engines' tables must have in common."""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from bench.evaluation import MEASURED
from bench.store import Store

HERE = {"run_id", "schema_version"}  # of an attempt
TIMES = {"started", "finished", "wall_seconds", "train_seconds", "eval_seconds", "images_per_second", "data_seconds"}
MACHINE = {
    *("host_id", "attempts", "workers", "sharing", "log", "error"),
    *("peak_rss_bytes", "base_rss_bytes", "peak_allocated_bytes", "peak_reserved_bytes"),
}


def results(store: Store) -> dict[str, list[dict]]:
    """Row by row what a store's tables say, but for times, memory, the machine, and names of attempts."""
    runs = store.runs().sort_by("cell_id")
    tables = {"runs": runs, "curves": store.curves(runs), "layers": store.layers(runs)}
    left_out = HERE | TIMES | MACHINE | set(MEASURED)
    return {
        name: [{key: value for key, value in row.items() if key not in left_out} for row in table.to_pylist()]
        for name, table in tables.items()
    }


CONFIGURATION = """\
ClusterName=test
SlurmctldHost={host}(127.0.0.1)
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket,cred_expire=5
CredType=cred/munge
SlurmctldPort={ports[0]}
SlurmdPort={ports[1]}
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
SchedulerParameters=batch_sched_delay=0,sched_min_interval=0
MpiDefault=none
SlurmdParameters=config_overrides
ReturnToService=2
KillWait=30
MessageTimeout=60
NodeName=one NodeHostname={host} NodeAddr=127.0.0.1 Port={ports[1]} CPUs={cpus} RealMemory=1000
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
PartitionName=short Nodes=one Default=YES MaxTime=INFINITE State=UP PriorityTier=1
PartitionName=urgent Nodes=one MaxTime=INFINITE State=UP PriorityTier=2 PreemptMode=OFF
"""
PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "srun", "squeue", "scancel", "scontrol")


def why_no_slurm() -> str | None:
    """Why a Slurm cannot be started here; None where it can."""
    missing = [name for name in PROGRAMS if not shutil.which(name, path=os.environ["PATH"] + ":/usr/sbin")]
    if missing:
        return f"not installed: {', '.join(missing)}"
    return None if os.geteuid() == 0 else "slurmd needs root"


@contextlib.contextmanager
def slurm(cpus: int = 4) -> Iterator[Path]:
    """A Slurm of one node, with so many CPUs whatever it has; its folder. Its programs find it by SLURM_CONF.

    Raises:
        RuntimeError: where it does not start, with what it said.
    """
    with tempfile.TemporaryDirectory(prefix="slurm-", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        for part in ("state", "spool"):
            (folder / part).mkdir()
        key = folder / "munge.key"
        key.write_bytes(secrets.token_bytes(128))
        key.chmod(0o400)
        where = {"folder": folder, "host": socket.gethostname().partition(".")[0], "ports": _ports(2), "cpus": cpus}
        configuration = folder / "slurm.conf"
        configuration.write_text(CONFIGURATION.format(**where))
        before = {name: os.environ.get(name) for name in ("SLURM_CONF", "PATH")}
        os.environ |= {"SLURM_CONF": str(configuration), "PATH": os.environ["PATH"] + ":/usr/sbin"}
        munge = [
            "munged", "--foreground", "--force", f"--key-file={key}", f"--socket={folder}/munge.socket",
            f"--pid-file={folder}/munged.pid", f"--log-file={folder}/munged.log", f"--seed-file={folder}/munged.seed",
        ]  # fmt: skip
        daemons: list[subprocess.Popen] = []
        try:
            for command in (munge, ["slurmctld", "-D", "-i"], ["slurmd", "-D", "-N", "one"]):
                daemons.append(subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL))
                time.sleep(0.5)
            _await_node(folder)
            yield folder
        finally:
            subprocess.run(["scancel", "--user=root"], capture_output=True, timeout=60)
            time.sleep(1.0)
            for daemon in reversed(daemons):
                daemon.terminate()
            for daemon in reversed(daemons):
                try:
                    daemon.wait(20)
                except subprocess.TimeoutExpired:
                    daemon.kill()
            for name, value in before.items():
                if value is None:
                    del os.environ[name]
                else:
                    os.environ[name] = value


def _await_node(folder: Path) -> None:
    state = ""
    for _ in range(60):
        found = subprocess.run(["sinfo", "--noheader", "--format=%T"], capture_output=True, text=True, timeout=60)
        state = found.stdout.strip() or found.stderr.strip()
        if state == "idle":
            return
        time.sleep(0.5)
    logs = "\n".join(path.read_text(errors="replace")[-2000:] for path in folder.glob("*.log"))
    raise RuntimeError(f"no node came up: {state}\n{logs}")


def _ports(count: int) -> list[int]:
    sockets = [socket.socket() for _ in range(count)]
    for each in sockets:
        each.bind(("127.0.0.1", 0))
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports
