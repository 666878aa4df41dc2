"""Things that go wrong. Each is done to a scene, and says how it ended, or None where there was nothing to do it to."""

from __future__ import annotations

import itertools
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from torture.scene import GO, KILL, STOP, Ended, Scene, Violation, signalled, starve, workers

from bench import packed

Fault = Callable[[Scene], str | None]
SETTLING = 0.2  # seconds, until a killed orchestrator's children have seen that it is gone
FAKETIME = next(Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1"), None)


def _expect(ended: Ended, *codes: int, saying: str = "") -> None:
    if ended.code not in codes:
        raise Violation(f"exit code {ended.code}, not {codes}: {ended.said}")
    if saying and ended.code not in (0, 130) and saying not in ended.said:
        raise Violation(f"does not say {saying!r}: {ended.said}")


def kill_orchestrator(scene: Scene) -> str | None:
    """SIGKILL of the orchestrator at a random moment"""
    process = scene.start()
    hit = scene.moment(process)
    process.kill()
    scene.end(process)
    time.sleep(SETTLING)
    return "killed" if hit else None


def kill_worker(scene: Scene) -> str | None:
    """SIGKILL of a worker at a random moment"""
    process = scene.start()
    pids = scene.moment(process, lambda: workers(process))
    if pids:
        signalled(scene.rng.choice(pids), KILL)
    _expect(scene.end(process), 0)
    return "went on" if pids else None


def terminate(scene: Scene) -> str | None:
    """SIGTERM to the orchestrator"""
    return _ask_to_end(scene, signal.SIGTERM)


def interrupt(scene: Scene) -> str | None:
    """Ctrl-C"""
    return _ask_to_end(scene, signal.SIGINT)


def _ask_to_end(scene: Scene, number: int) -> str | None:
    process = scene.start()
    time.sleep(0.3)  # before, Python itself is starting
    hit = scene.moment(process)
    signalled(process.pid, number)
    ended = scene.end(process)
    if ended.code == -number and "; tables in " in ended.said:
        return None  # all was done, and Python itself was ending, which no longer asks us
    _expect(ended, 130, 0)
    return "stopped in order" if hit else None


def out_of_memory(scene: Scene) -> str | None:
    """a worker's memory limited to what it holds (RLIMIT_DATA)"""
    process = scene.start()
    pids = scene.moment(process, lambda: workers(process))
    if pids:
        starve(scene.rng.choice(pids))
    _expect(scene.end(process), 0)
    return "tried again" if pids else None


def hang(scene: Scene) -> str | None:
    """a worker that hangs (SIGSTOP), under --timeout"""
    logs = scene.store.root / "logs"
    before = {path: path.stat().st_mtime_ns for path in logs.glob("*.log")}
    process = scene.start("--timeout", "8")

    def trains() -> bool:  # and no longer prepares data, for which there is no limit
        return any(path.stat().st_mtime_ns != before.get(path) for path in logs.glob("????????????????.log"))

    pids = scene.moment(process, lambda: workers(process) if trains() else [])
    if pids:
        signalled(scene.rng.choice(pids), STOP)
    _expect(scene.end(process), 0)
    return "ended and tried again" if pids else None


def suspend(scene: Scene) -> str | None:
    """the orchestrator suspended for a while"""
    process = scene.start()
    hit = scene.moment(process)
    signalled(process.pid, STOP)
    time.sleep(scene.rng.uniform(0.2, 2.0))
    signalled(process.pid, GO)
    _expect(scene.end(process), 0)
    return "went on" if hit else None


def disk_full(scene: Scene, room: int | None = None) -> str | None:
    """no space left on the disk, or little"""
    if scene.disk is None:
        return None
    left = scene.rng.choice([0, 4096 * scene.rng.randrange(100)]) if room is None else room
    process = scene.start()
    hit = scene.moment(process)
    filler = scene.disk / "filler"
    with filler.open("wb", buffering=0) as file:
        try:
            while True:
                file.write(b"x" * 4096)
        except OSError:
            file.truncate(max(0, file.tell() - left))
    ended = scene.end(process)
    filler.unlink()
    _expect(ended, 0, 2, 5, saying="No space left on device")
    return f"exit code {ended.code}" if hit else None


def read_only(scene: Scene) -> str | None:
    """a results folder that is read only"""
    if scene.disk is None:
        return None
    subprocess.run(["mount", "-o", "remount,ro", scene.disk], check=True)
    try:
        ended = scene.run()
    finally:
        subprocess.run(["mount", "-o", "remount,rw", scene.disk], check=True)
    _expect(ended, 5, saying="Read-only file system")
    return "refused"


def damage(scene: Scene) -> str | None:
    """a part file with a bit flipped, cut short or emptied"""
    return _damage_a_part(scene)


def _damage_a_part(scene: Scene) -> str | None:
    parts = sorted(p for name in ("runs", "curves", "layers") for p in scene.store.root.glob(f"{name}/*.parquet"))
    parts = [path for path in parts if not path.stem.startswith("packed-")]
    if not parts:
        return None
    part = scene.rng.choice(parts)
    how = _spoil(scene, part)
    ended = scene.run()
    _expect(ended, 0)
    if part.name not in ended.said:
        raise Violation(f"{part.parent.name}/{part.name} was {how}, and is not named: {ended.said}")
    scene.known.pop(part.stem.partition("-")[0], None)  # run again, under another run id
    return f"{part.parent.name}: {how}"


def _spoil(scene: Scene, path: Path) -> str:
    data = bytearray(path.read_bytes())
    how = scene.rng.choice(["a bit flipped", "cut short", "emptied"])
    if how == "a bit flipped":
        data[scene.rng.randrange(len(data))] ^= 1 << scene.rng.randrange(8)
    elif how == "cut short":
        del data[scene.rng.randrange(len(data)) :]
    else:
        data.clear()
    path.write_bytes(data)
    return how


def damage_checkpoint(scene: Scene) -> str | None:
    """a checkpoint with a bit flipped, cut short or emptied"""
    found = sorted(scene.store.root.glob("checkpoints/*.pt"))
    if not found:
        process = scene.start()
        scene.moment(process, lambda: list(scene.store.root.glob("checkpoints/*.pt")))
        process.kill()
        scene.end(process)
        time.sleep(SETTLING)
        found = sorted(scene.store.root.glob("checkpoints/*.pt"))
    if not found:
        return None
    how = _spoil(scene, scene.rng.choice(found))
    _expect(scene.run(), 0)
    return how


def clock_back(scene: Scene) -> str | None:
    """the clock set back by hours while cells run (libfaketime)"""
    if FAKETIME is None:
        return None
    offset = scene.desk / "clock"
    offset.write_text("+0s")
    faked = {"LD_PRELOAD": str(FAKETIME), "FAKETIME_TIMESTAMP_FILE": str(offset), "FAKETIME_NO_CACHE": "1"}
    process = scene.start(environment=faked | {"FAKETIME_DONT_FAKE_MONOTONIC": "1", "DONT_FAKE_MONOTONIC": "1"})
    hit = scene.moment(process)
    offset.write_text(f"-{scene.rng.randrange(1, 48)}h")
    _expect(scene.end(process), 0)
    offset.unlink()
    return "went on" if hit else None


def no_git(scene: Scene) -> str | None:
    """git missing"""
    tools = scene.desk / "no-git"
    tools.mkdir(exist_ok=True)
    _expect(scene.run(environment={"PATH": str(tools)}), 0)
    return "went on"


def no_cache(scene: Scene) -> str | None:
    """a cache that cannot be written"""
    ended = scene.run(environment={"RESBENCH_CACHE": "/dev/null/cache"})
    _expect(ended, 0)
    if not scene.complete and "the cache /dev/null/cache cannot be written" not in ended.said:
        raise Violation(f"does not say that the cache cannot be written: {ended.said}")
    return "went on"


def newer_table(scene: Scene) -> str | None:
    """a table from a newer resbench"""
    rows = sorted(scene.store.root.glob("runs/*.parquet"))
    if not rows:
        return None
    path = scene.rng.choice(rows)
    before = path.read_bytes()
    _write_newer(path)
    written = path.read_bytes()
    ended = scene.run()
    if not path.exists() or path.read_bytes() != written:
        raise Violation(f"a newer table, {path.name}, was changed: {ended.said}")
    path.write_bytes(before)
    _expect(ended, 5, saying="upgrade resbench")
    return "refused"


def _write_newer(path: Path) -> None:
    table = pq.read_table(path)
    newer = table.set_column(0, "schema_version", pa.array([99] * len(table)))
    if packed.number(path.name) is None:
        pq.write_table(newer, path)
        return
    with packed.Pack(path) as pack:
        blocks = pack.blocks
    starts = itertools.accumulate((sum(block.rows.values()) for block in blocks), initial=0)
    slices = [newer.slice(start, sum(block.rows.values())) for start, block in zip(starts, blocks, strict=False)]
    schema = newer.schema.remove_metadata()
    packed.write(path, [(block.rows, rows.cast(schema)) for block, rows in zip(blocks, slices, strict=True)], schema)


def leftovers(scene: Scene) -> str | None:
    """half-written files, and parts without a row"""
    for name in ("runs", "curves", "checkpoints"):
        (scene.store.root / name).mkdir(parents=True, exist_ok=True)
    (scene.store.root / "runs" / ".0123456789abcdef.parquet.1.tmp").write_bytes(os.urandom(100))
    (scene.store.root / "curves" / "0123456789abcdef-0123456789ab.parquet").write_bytes(os.urandom(100))
    _expect(scene.run(), 0)
    return "cleared"


def two_orchestrators(scene: Scene) -> str | None:
    """two orchestrators on one folder, one of them killed"""
    one, two = scene.start(), scene.start()
    hit = scene.moment(one)
    one.kill()
    scene.end(one)
    _expect(scene.end(two), 0)
    return "the other went on" if hit else None


def kill_compact(scene: Scene) -> str | None:
    """SIGKILL of resbench compact"""
    if not scene.known:
        return None
    process = scene.command("compact")
    time.sleep(scene.rng.uniform(0.3, 1.5))
    hit = process.poll() is None
    process.kill()
    scene.end(process)
    return "killed" if hit else None


def damage_pack(scene: Scene) -> str | None:
    """a pack (resbench compact) with a bit flipped, cut short or emptied"""
    if not scene.known:
        return None
    _expect(scene.end(scene.command("compact")), 0)
    packs = sorted(scene.store.root.glob("[a-z]*/packed-*.parquet"))
    if not packs:
        return None
    pack = scene.rng.choice(packs)
    how = _spoil(scene, pack)
    ended = scene.run()
    _expect(ended, 0)
    if pack.name not in ended.said:
        raise Violation(f"{pack.parent.name}/{pack.name} was {how}, and is not named: {ended.said}")
    scene.known.clear()  # whichever were in it are run again
    return f"{pack.parent.name}: {how}"


def doctor(scene: Scene) -> str | None:
    """a part file damaged, and resbench doctor --fix"""
    parts = sorted(p for name in ("runs", "curves", "layers") for p in scene.store.root.glob(f"{name}/*.parquet"))
    parts = [path for path in parts if not path.stem.startswith("packed-")]
    if not parts:
        return None
    part = scene.rng.choice(parts)
    _spoil(scene, part)
    if part.name not in _complaints(scene):
        raise Violation(f"{part} was spoiled, and doctor does not name it")
    _complaints(scene, "--fix")
    if complaints := _complaints(scene):
        raise Violation(f"not mended: {complaints}")
    scene.known.pop(part.stem.partition("-")[0], None)
    return "mended"


def _complaints(scene: Scene, *options: str) -> str:
    """What doctor finds wrong, but for the small disk."""
    ended = scene.end(scene.command("doctor", *options))
    _expect(ended, 0, 1)
    return "\n".join(line for line in ended.said.splitlines() if "✗" in line and "GiB free" not in line)


def available(*, complete: bool) -> list[tuple[Fault, int]]:
    """The faults, each with how often it is drawn; of a complete study those of its tables alone."""
    if complete:
        tables: list[Fault] = [damage, damage_pack, doctor, kill_compact, kill_compact]
        return [(fault, 2) for fault in tables] + [(read_only, 1), (newer_table, 1), (leftovers, 1)]
    often = [(kill_orchestrator, 15), (kill_worker, 10)]
    seldom = [(no_cache, 1), (no_git, 1), (newer_table, 1), (read_only, 1)]  # slow, or alike each time
    others: list[Fault] = [terminate, interrupt, out_of_memory, hang, suspend, disk_full, damage, damage_checkpoint]
    others += [clock_back, leftovers, two_orchestrators, doctor, kill_compact, damage_pack]
    return often + seldom + [(fault, 3) for fault in others]


def cleared(scene: Scene) -> None:
    """Remove a scene's files."""
    shutil.rmtree(scene.folder, ignore_errors=True)
