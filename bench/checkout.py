"""The code of a commit, or of a folder, to measure: commits are checked out beside, as git worktrees."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from bench.errors import InputError, shown

PREFIX = "resbench-"  # of a folder with a worktree; its owner's process id follows


@dataclass(frozen=True)
class Checkout:
    """A folder with resbench's code: as it was named, where it is, its commit and whether its code differs from it.

    The commit and when it was committed are None outside of git.
    """

    name: str
    root: Path
    commit: str | None
    dirty: bool | None
    committed: datetime | None

    @property
    def label(self) -> str:
        """As it was named, and the commit: `HEAD~1 (74fdca1f0c2e)`."""
        changed = " with changes" if self.dirty else ""
        return f"{self.name} ({self.commit[:12]}{changed})" if self.commit else self.name


@contextlib.contextmanager
def opened(text: str) -> Iterator[Checkout]:
    """The checkout that `text` names: a folder as it is (`.`, `./there`), or a commit in a worktree that is removed at
    the end.

    Raises:
        InputError: where it is neither, or has no resbench in it.
    """
    if not text:
        raise InputError("'': names no checkout; give a commit or a folder")
    commit = _git(Path(), "rev-parse", "--verify", "--quiet", "--end-of-options", f"{text}^{{commit}}")
    if commit is None or text in (".", "..") or text.startswith(("./", "../", "/")):
        yield _folder(text)
        return
    _clear_left()
    with tempfile.TemporaryDirectory(prefix=f"{PREFIX}{os.getpid()}-") as temporary:
        root = Path(temporary) / commit[:12]
        if not _added(root, commit):
            raise InputError(f"{text}: git cannot check out {commit[:12]} beside")
        try:
            yield _checked(Checkout(text, root, commit, False, _committed(root)))
        finally:
            _git(Path(), "worktree", "remove", "--force", str(root))


def _added(root: Path, commit: str) -> bool:
    """Check a commit out there; tried again, for git refuses while another command adds or prunes worktrees."""
    for wait in (0.1, 0.3, 1.0, 3.0, None):
        if _git(Path(), "worktree", "add", "--quiet", "--force", "--detach", str(root), commit) is not None:
            return True
        if wait:
            time.sleep(wait)
            shutil.rmtree(root, ignore_errors=True)
    return False


def _clear_left() -> None:
    """Remove the worktrees of processes that were killed."""
    listed = _git(Path(), "worktree", "list", "--porcelain") or ""
    for line in listed.splitlines():
        root = Path(line.removeprefix("worktree "))
        owner = root.parent.name.removeprefix(PREFIX).partition("-")[0]
        if root.parent.name.startswith(PREFIX) and owner.isdecimal() and not Path(f"/proc/{owner}").exists():
            _git(Path(), "worktree", "remove", "--force", str(root))
            shutil.rmtree(root.parent, ignore_errors=True)
    _git(Path(), "worktree", "prune")


def _folder(text: str) -> Checkout:
    root = Path(text)
    if not root.is_dir():
        raise InputError(f"{shown(text)}: neither a commit of this git repository nor a folder")
    tracked = _git(root, "ls-files", "--", "bench/__init__.py")  # a copy within another repository is none of its
    commit = _git(root, "rev-parse", "HEAD") if tracked else None
    dirty = bool(_git(root, "status", "--porcelain", "--", "bench")) if commit else None
    return _checked(Checkout(text, root.resolve(), commit, dirty, _committed(root) if commit else None))


def _checked(checkout: Checkout) -> Checkout:
    if not (checkout.root / "bench" / "__init__.py").is_file():
        raise InputError(f"{checkout.label}: no checkout of resbench: it has no package bench")
    return checkout


def _committed(root: Path) -> datetime | None:
    seconds = _git(root, "log", "-1", "--format=%ct")
    return datetime.fromtimestamp(int(seconds), UTC) if seconds else None


def _git(root: Path, *arguments: str) -> str | None:
    try:
        answer = subprocess.run(["git", "-C", root, *arguments], capture_output=True, text=True, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return answer.stdout.strip()
