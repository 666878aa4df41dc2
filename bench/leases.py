"""Leases on cells, so that orchestrators that share a results folder never run one twice.

.orchestrators/<name>    one an orchestrator: the ids of the cells that it runs, a line each
.orchestrators/.count    how many there have ever been
.lock                    held for moments, while one of these or a cell's row is written

An orchestrator touches its file every few seconds, and locks it. Its leases lapse when it is dead: on its machine when
nobody holds that lock, elsewhere when its file was not touched for a minute by the clock of whoever looks, so that no
two machines' clocks, nor one that is set back, can disagree. Who finds it dead removes its file: a process that was
only suspended finds that out before it records anything.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import platform
import threading
import time
import uuid
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from bench.errors import StoreError

BEAT_SECONDS = 5.0
EXPIRY_SECONDS = 60.0
PATIENCE_SECONDS = 60.0  # for the lock, which others hold for moments
_BOOT = Path("/proc/sys/kernel/random/boot_id")


@dataclass(frozen=True)
class Orchestrator:
    """A process that runs cells, told apart by where it runs; `boot` is empty where the system does not tell."""

    host: str
    pid: int
    boot: str
    nonce: str

    @classmethod
    def here(cls) -> Orchestrator:
        """This process, anew at each call."""
        try:
            boot = _BOOT.read_text().strip().replace("-", "")
        except OSError:
            boot = ""
        host = "".join(c if c.isalnum() or c == "-" else "-" for c in platform.node())
        return cls(host, os.getpid(), boot, uuid.uuid4().hex[:12])

    @classmethod
    def named(cls, name: str) -> Orchestrator | None:
        """The one whose file has this name; None where it is no such file."""
        host, *others = name.split(".")
        if len(others) != 3 or not others[0].isdecimal():
            return None
        return cls(host, int(others[0]), *others[1:])

    @property
    def name(self) -> str:
        """Of its file."""
        return f"{self.host}.{self.pid}.{self.boot}.{self.nonce}"

    @property
    def label(self) -> str:
        """For people."""
        return f"process {self.pid} on {self.host or 'an unnamed machine'}"


class Leases:
    """One orchestrator's leases on the cells of a results folder that exists."""

    def __init__(self, root: Path) -> None:
        from filelock import FileLock

        self._root, self._folder = root, root / ".orchestrators"
        self._lock = FileLock(root / ".lock", timeout=PATIENCE_SECONDS)
        self._me = Orchestrator.here()
        self._mine: set[str] = set()
        self._beats: dict[str, tuple[int, float]] = {}  # of others: when last touched, and since when we know it so
        self._alone = True
        self._count = 0
        self._file = -1

    @property
    def alone(self) -> bool:
        """Whether nobody else can have recorded anything in the folder between `owned` and the last `take`."""
        return self._alone

    @property
    def witness(self) -> Path:
        """A file that is in this results folder, and no other, while it is `owned`."""
        return self._folder / self._me.name

    @contextlib.contextmanager
    def owned(self) -> Iterator[None]:
        """Take part, within; afterwards every lease has lapsed.

        Raises:
            StoreError: when the folder cannot be written, or is held by something else.
        """
        stop = threading.Event()
        path = self._folder / self._me.name
        with self._locked():
            self._folder.mkdir(exist_ok=True)
            self._alone = not self._others()
            self._count = self._counted() + 1
            (self._folder / ".count").write_text(str(self._count))
            self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o644)
            fcntl.flock(self._file, fcntl.LOCK_EX)
        beating = threading.Thread(target=_beat, args=(self._file, stop), daemon=True, name="beat")
        beating.start()
        try:
            yield
        finally:
            stop.set()
            beating.join()
            path.unlink(missing_ok=True)
            os.close(self._file)

    def take(self, ids: Iterable[str]) -> set[str]:
        """Lease cells; those of them that are ours now. The others are another orchestrator's.

        Raises:
            StoreError: when the lease cannot be written, or ours have lapsed.
        """
        with self.held():
            others = self._others()
            if others or self._counted() != self._count:
                self._alone = False
            taken = set(ids).difference(*others.values())
            if not taken <= self._mine:
                self._write(self._mine | taken)
            return taken

    def release(self, ids: Iterable[str]) -> None:
        """Let go of cells; others see it when the next new one is taken."""
        self._mine = self._mine.difference(ids)

    @contextlib.contextmanager
    def held(self) -> Iterator[None]:
        """Keep other orchestrators from writing, within, when ours are still leased to us.

        Raises:
            StoreError: when another orchestrator took this one for dead.
        """
        with self._locked():
            if not self._is_ours():
                raise StoreError(
                    f"{self._root}: this resbench was held up for over {EXPIRY_SECONDS:.0f} s, and another took "
                    "over its cells; run again to continue"
                )
            yield

    def others(self) -> dict[Orchestrator, set[str]]:
        """The other orchestrators that live, and the cells they run.

        Raises:
            StoreError: when the folder cannot be read.
        """
        with self._locked():
            return self._others()

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        from filelock import Timeout

        try:
            with self._lock.acquire(poll_interval=0.01):
                yield
        except Timeout:
            held = f"held by another process for over {PATIENCE_SECONDS:.0f} s; end that, then run again"
            raise StoreError(f"{self._root / '.lock'}: {held}") from None
        except OSError as error:
            ours = error.filename and Path(error.filename) in (self._root / ".lock", self._folder, self.witness)
            if ours and error.errno in (errno.EROFS, errno.EACCES, errno.EPERM):
                raise StoreError(f"{self._root}: cannot be written ({error.strerror}); use another folder") from None
            raise StoreError(f"{error.filename or self._folder}: {error.strerror or error}") from None

    def _is_ours(self) -> bool:
        try:
            found = (self._folder / self._me.name).stat()
        except FileNotFoundError:
            return False
        return os.path.samestat(found, os.fstat(self._file))

    def _write(self, cells: set[str]) -> None:
        lines = "".join(f"{cell_id}\n" for cell_id in sorted(cells)).encode()
        # over what is there, for lines of one length: where the disk is full, what a reader finds is leases still
        written = os.pwrite(self._file, lines, 0)
        if written < len(lines):
            raise StoreError(f"{self._folder / self._me.name}: No space left on device")
        os.ftruncate(self._file, written)
        self._mine = cells

    def _counted(self) -> int:
        try:
            return int((self._folder / ".count").read_text() or 0)
        except (FileNotFoundError, ValueError):
            return 0

    def _others(self) -> dict[Orchestrator, set[str]]:
        """Those that live; files of the dead are removed. Only while the lock is held."""
        found = {}
        for entry in os.scandir(self._folder) if self._folder.is_dir() else ():
            other = Orchestrator.named(entry.name)
            if other is None or other == self._me:
                continue
            with contextlib.suppress(FileNotFoundError):  # it has just ended
                file = os.open(entry.path, os.O_RDONLY)
                try:
                    if self._is_dead(other, file):
                        Path(entry.path).unlink(missing_ok=True)
                    else:
                        found[other] = {line.decode() for line in _read(file).splitlines()}
                finally:
                    os.close(file)
        return found

    def _is_dead(self, other: Orchestrator, file: int) -> bool:
        if self._me.boot and other.boot == self._me.boot and _is_unlocked(file):
            return True
        now, touched = time.monotonic(), os.fstat(file).st_mtime_ns
        known, since = self._beats.get(other.name, (None, now))
        if known != touched:
            since = now
        self._beats[other.name] = touched, since
        return now - since > EXPIRY_SECONDS


def _beat(file: int, stop: threading.Event) -> None:
    while not stop.wait(BEAT_SECONDS):
        with contextlib.suppress(OSError):  # a disk that is away for a moment; if for a minute, others take over
            os.utime(file)


def _is_unlocked(file: int) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    fcntl.flock(file, fcntl.LOCK_UN)
    return True


def _read(file: int) -> bytes:
    size = os.fstat(file).st_size
    return os.pread(file, size, 0)
