"""Checkouts, in git repositories made for the test; whatever happens, no worktree stays."""

import os
import subprocess
import tempfile
import threading
from datetime import UTC, datetime
from pathlib import Path

import pytest

from bench import checkout as module
from bench.checkout import Checkout, opened
from bench.errors import InputError

DATE = "2026-01-02T03:04:05+02:00"


def git(root: Path, *arguments: str) -> str:
    who = {f"GIT_{role}_{what}": "test" for role in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}
    dates = {"GIT_AUTHOR_DATE": "2020-01-01T00:00:00Z", "GIT_COMMITTER_DATE": DATE}
    where = {"GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_SYSTEM": os.devnull}
    command = ["git", "-C", root, "-c", "init.defaultBranch=main", *arguments]
    environment = os.environ | who | dates | where
    return subprocess.run(command, capture_output=True, text=True, check=True, env=environment).stdout.strip()


def commit(root: Path, text: str) -> str:
    """Commit a package whose code is this text; the commit's name."""
    (root / "bench").mkdir(exist_ok=True)
    (root / "bench" / "__init__.py").write_text(text)
    git(root, "add", ".")
    git(root, "commit", "-m", text)
    return git(root, "rev-parse", "HEAD")


@pytest.fixture
def repository(tmp_path, monkeypatch):
    """The current folder: a repository of two commits, the first tagged v1; temporary folders are beside."""
    root, temporary = tmp_path / "repository", tmp_path / "temporary"
    root.mkdir()
    temporary.mkdir()
    git(root, "init")
    commit(root, "first")
    git(root, "tag", "-a", "-m", "one", "v1")
    commit(root, "second")
    monkeypatch.chdir(root)
    monkeypatch.setattr(tempfile, "tempdir", str(temporary))
    yield root
    assert git(root, "worktree", "list").splitlines() == [git(root, "worktree", "list").splitlines()[0]]
    assert list(temporary.iterdir()) == []


@pytest.mark.parametrize(
    ("name", "text"), [("HEAD", "second"), ("HEAD~1", "first"), ("v1", "first"), ("main", "second")]
)
def test_a_commit_is_checked_out_beside(repository, name, text):
    sha = git(repository, "rev-parse", f"{name}^{{commit}}")  # of a tag's object, the commit
    with opened(name) as found:
        assert found == Checkout(name, found.root, sha, False, datetime(2026, 1, 2, 1, 4, 5, tzinfo=UTC))
        assert found.label == f"{name} ({sha[:12]})"
        assert (found.root / "bench" / "__init__.py").read_text() == text
        assert not found.root.is_relative_to(repository)
        assert git(found.root, "status", "--porcelain") == ""
    assert not found.root.exists()


def test_what_is_changed_here_is_in_no_commit(repository):
    (repository / "bench" / "__init__.py").write_text("third")
    with opened("HEAD") as found:
        assert (found.root / "bench" / "__init__.py").read_text() == "second" and not found.dirty


@pytest.mark.parametrize("name", [".", "./", "absolute"])
def test_a_folder_is_measured_as_it_is(repository, name):
    name = str(repository) if name == "absolute" else name
    sha = git(repository, "rev-parse", "HEAD")
    with opened(name) as found:
        assert (found.name, found.root, found.commit, found.dirty) == (name, repository.resolve(), sha, False)
    (repository / "notes.txt").write_text("not code")
    with opened(name) as found:
        assert not found.dirty and found.label == f"{name} ({sha[:12]})"
    (repository / "bench" / "new.py").write_text("x")
    with opened(name) as found:
        assert found.dirty and found.label == f"{name} ({sha[:12]} with changes)"
    (repository / "bench" / "new.py").unlink()
    assert repository.exists()


def test_a_folder_elsewhere_has_its_own_commit_or_none(repository, tmp_path):
    clone, plain = tmp_path / "clone", tmp_path / "plain"
    git(tmp_path, "clone", str(repository), str(clone))
    sha = commit(clone, "third")
    (plain / "bench").mkdir(parents=True)
    (plain / "bench" / "__init__.py").touch()
    with opened(str(clone)) as found:
        assert (found.commit, found.dirty) == (sha, False) and found.committed.year == 2026
    with opened("../plain") as found:
        assert found == Checkout("../plain", plain.resolve(), None, None, None) and found.label == "../plain"


@pytest.mark.parametrize("ignored", [True, False])
def test_a_copy_within_a_repository_is_none_of_its(repository, ignored):
    copy = repository / "build"
    (copy / "bench").mkdir(parents=True)
    (copy / "bench" / "__init__.py").touch()
    if ignored:
        (repository / ".gitignore").write_text("build\n")
    with opened("./build") as found:
        assert (found.commit, found.dirty, found.committed) == (None, None, None)


def test_a_commits_name_goes_before_a_folders_and_a_dot_tells(repository):
    (repository / "v1" / "bench").mkdir(parents=True)
    (repository / "v1" / "bench" / "__init__.py").touch()
    with opened("v1") as found:
        assert found.commit == git(repository, "rev-parse", "v1^{commit}")
    with opened("./v1") as found:
        assert found.root == (repository / "v1").resolve()


@pytest.mark.parametrize("name", ["nowhere", "HEAD~7", "--help", "-h", "HEAD..v1", "HEAD v1", "HEAD:bench", "@{-1}"])
@pytest.mark.usefixtures("repository")
def test_what_is_neither_a_commit_nor_a_folder_is_refused(name):
    with pytest.raises(InputError, match="neither a commit of this git repository nor a folder"), opened(name):
        pass


@pytest.mark.usefixtures("repository")
def test_an_empty_name_is_not_this_folder():
    """As a shell has it of a variable that is not set."""
    with pytest.raises(InputError, match=r"^'': names no checkout"), opened(""):
        pass


@pytest.mark.usefixtures("repository")
def test_a_folder_or_a_commit_without_the_package_is_refused(tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match=r"^\.\./empty: no checkout of resbench: it has no package bench$"):
        opened("../empty").__enter__()
    git(Path(), "rm", "-r", "bench")
    git(Path(), "commit", "-m", "gone")
    with pytest.raises(InputError, match=r"^HEAD \([0-9a-f]{12}\): no checkout of resbench"):
        opened("HEAD").__enter__()


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_an_exception_leaves_no_worktree(repository, error):
    with pytest.raises(error), opened("HEAD") as found:
        assert str(found.root) in git(repository, "worktree", "list")
        (found.root / "bench" / "left.py").write_text("changed meanwhile")
        raise error


@pytest.mark.usefixtures("repository")
def test_one_commit_may_be_checked_out_several_times_at_once():
    roots, errors, together = [], [], threading.Barrier(3)

    def open_it():
        try:
            with opened("HEAD") as found:
                roots.append(found.root)
                together.wait(20)
        except Exception as error:
            errors.append(error)

    threads = [threading.Thread(target=open_it) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == [] and len(set(roots)) == 3


def test_what_a_killed_command_left_is_tidied_up(repository, tmp_path):
    left = tmp_path / "left"
    git(repository, "worktree", "add", "--detach", str(left), "HEAD")
    subprocess.run(["rm", "-r", left], check=True)
    assert str(left) in git(repository, "worktree", "list")
    with opened("HEAD"):
        assert str(left) not in git(repository, "worktree", "list")


def test_only_worktrees_of_processes_that_are_gone_are_removed(repository, tmp_path):
    gone = subprocess.Popen(["true"])
    gone.wait()
    left, kept = (tmp_path / f"resbench-{owner}-x" / "there" for owner in (gone.pid, os.getpid()))
    for root in (left, kept):
        git(repository, "worktree", "add", "--detach", root, "v1")
    with opened("v1"):
        assert not left.parent.exists() and kept.exists()
    assert str(left) not in (listed := git(repository, "worktree", "list")) and str(kept) in listed
    git(repository, "worktree", "remove", "--force", kept)


def test_without_git_folders_can_be_measured(repository, monkeypatch):
    monkeypatch.setattr(module.subprocess, "run", _no_git)
    with opened(".") as found:
        assert (found.root, found.commit, found.dirty) == (repository.resolve(), None, None)
    with pytest.raises(InputError, match="neither a commit"), opened("HEAD"):
        pass
    monkeypatch.undo()


def _no_git(*_, **__):
    raise FileNotFoundError("git")
