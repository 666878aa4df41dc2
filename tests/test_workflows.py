"""What CI runs: that its files keep to the rules, name what exists, and that their shell steps do what they say."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from workflow import Step, Workflow, perform

from bench import cli

ROOT = Path(__file__).parent.parent
FILES = {path.name: path for path in sorted((ROOT / ".github" / "workflows").glob("*.yml"))}
WORKFLOWS = {name: Workflow.read(path) for name, path in FILES.items()}
JOBS = {f"{name}:{job.name}": job for name, workflow in WORKFLOWS.items() for job in workflow.jobs.values()}
STEPS = [(f"{place}:{step.name}", step) for place, job in JOBS.items() for step in job.steps]
SHELL = {place: step.run for place, step in STEPS if step.run}
PAGE = (ROOT / "docs" / "ci.md").read_text()
BLOCKS = re.findall(r"^```(\w*)\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
GITLAB = next(yaml.safe_load(text) for language, text in BLOCKS if language == "yaml")
NIGHTLY = next(text for language, text in BLOCKS if text.startswith("#!"))
SCRIPTS = sorted((ROOT / "tools").glob("*.sh"))


def page_shell() -> list[str]:
    """The shell of docs/ci.md: its blocks, and the scripts in its other blocks."""
    gitlab = [line for job in GITLAB.values() if isinstance(job, dict) for line in job.get("script", [])]
    return [text for language, text in BLOCKS if language in ("", "sh")] + gitlab


def commands(shell: str) -> list[list[str]]:
    """The simple commands of a shell text, as words."""
    found: list[list[str]] = []
    for line in shell.replace("\\\n", " ").splitlines():
        lexer = shlex.shlex(line, posix=True, punctuation_chars=True)
        lexer.whitespace_split = True
        words: list[str] = []
        for word in [*lexer, ";"]:
            if set(word) <= set("();<>|&"):
                found.append(words)
                words = []
            else:
                words.append(word)
    bare = (words[1:] if words[:1] and words[0] in ("if", "then", "else", "do") else words for words in found)
    return [words for words in bare if words]


def ours(shell: str) -> list[tuple[str, ...]]:
    """The calls of make, resbench and the scripts in a shell text; of exit-code.sh also what it calls."""
    calls = []
    for name, *words in commands(shell):
        if name == "tools/exit-code.sh":
            calls.append((name,))
            name, *words = words
        if name == "make" or name.startswith("tools/"):
            calls.append((name, *words))
        elif name.endswith("bin/resbench") or name == "resbench":
            calls.append(("resbench", *words))
    return calls


CALLS = sorted({call for shell in [*SHELL.values(), *page_shell()] for call in ours(shell)})


@pytest.mark.parametrize("place, step", STEPS, ids=[place for place, _ in STEPS])
def test_an_action_is_pinned_by_its_commit(place, step: Step):
    if step.uses:
        assert re.fullmatch(r"[\w.-]+/[\w./-]+@[0-9a-f]{40}", step.uses), place
        line = next(line for path in FILES.values() for line in path.read_text().splitlines() if step.uses in line)
        assert re.search(r" # v\d+\.\d+\.\d+$", line)


@pytest.mark.parametrize("job", JOBS.values(), ids=JOBS)
def test_a_job_has_few_rights_and_an_end(job):
    assert isinstance(job.permissions, dict)  # neither absent nor all of them in a word
    assert 0 < job.timeout <= 60
    if job.own_machine:
        assert "write" not in job.permissions.values()


@pytest.mark.parametrize("workflow", WORKFLOWS.values(), ids=WORKFLOWS)
def test_no_code_of_a_fork_runs_on_an_own_machine(workflow):
    assert workflow.events <= {"push", "pull_request"}  # not pull_request_target, nor workflow_run
    for job in workflow.jobs.values():
        if job.own_machine:
            pushed = job.condition == "github.event_name == 'push'"
            assert pushed or job.condition.endswith("head.repo.full_name == github.repository")
            assert pushed or "||" not in job.condition


@pytest.mark.parametrize("shell", SHELL.values(), ids=SHELL)
def test_a_shell_step_holds_no_expression(shell):
    assert "${{" not in shell  # what others wrote comes through env, and is never read as shell


@pytest.mark.parametrize("call", CALLS, ids=" ".join)
def test_what_is_called_exists(call):
    name, *words = call
    if name == "make":
        targets = [word for word in words if "=" not in word and not word.startswith("-")]
        assert targets
        made = subprocess.run(["make", "--dry-run", *targets], cwd=ROOT, capture_output=True, text=True, check=False)
        assert made.returncode == 0, made.stderr
    elif name == "resbench":
        cli._parse(words)
    else:
        assert os.access(ROOT / name, os.X_OK)


def test_what_is_called_is_found():
    assert {call[0] for call in CALLS} >= {"make", "resbench", *(f"tools/{path.name}" for path in SCRIPTS)}
    shell = "a && tools/exit-code.sh .venv/bin/resbench gate x \\\n  --json f >> g; if cd resbench; then make test; fi"
    assert ours(shell) == [
        ("tools/exit-code.sh",),
        ("resbench", "gate", "x", "--json", "f"),
        ("make", "test"),
    ]


def test_shell_is_free_of_usual_mistakes(tmp_path):
    beside = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    if not (shellcheck := shutil.which("shellcheck", path=beside)):
        pytest.skip("shellcheck is not installed")
    (tmp_path / "nightly.sh").write_text(NIGHTLY)
    for number, shell in enumerate(SHELL.values()):
        (tmp_path / f"step{number}.sh").write_text(f"#!/bin/bash\n{shell}\n")
    checked = subprocess.run([shellcheck, *SCRIPTS, *tmp_path.iterdir()], capture_output=True, text=True, check=False)
    assert checked.returncode == 0, checked.stdout


@pytest.mark.parametrize("code, exits, told", [(0, 0, ""), (1, 1, "slower"), (2, 2, "bad input"), (3, 0, "inconcl")])
def test_exit_codes_are_told(code, exits, told):
    script = ROOT / "tools" / "exit-code.sh"
    ended = subprocess.run([script, "bash", "-c", f"exit {code}"], capture_output=True, text=True, check=False)
    assert ended.returncode == exits
    assert told in ended.stdout if told else not ended.stdout
    if told:
        assert ended.stdout.startswith("::warning" if code == 3 else "::error")


# A clean clone, with a remote, and stand-ins for what a step calls: they record the call and end as told.

RESBENCH = """#!/usr/bin/env bash
echo "resbench $*" >> "$CALLED"
command=$1
while [ $# -gt 1 ]; do
  case $1 in
    --markdown | --junit | --json) echo "## written by $command" > "$2" ;;
    --results) results=$2 ;;
  esac
  shift
done
if [ "$command" = gate ]; then mkdir -p "$results/marks"; date > "$results/marks/$RANDOM$RANDOM.parquet"; fi
if [ "$command" = compare ] || [ "$command" = gate ]; then exit "$CODE"; fi
"""
GH = """#!/usr/bin/env python3
import json, os, re, sys
from pathlib import Path
file = Path(os.environ["COMMENTS"])
comments = json.loads(file.read_text())
words = sys.argv[2:]
path = next(word for word in words if word.startswith("repos/"))
field = lambda name: words[words.index(name) + 1]
if "--jq" in words:
    marker = re.search(r'startswith\\("(.*?)"\\)', field("--jq"))[1]
    ids = [c["id"] for c in comments if c["user"]["type"] == "Bot" and c["body"].startswith(marker)]
    print(*ids, sep="\\n", end="\\n" if ids else "")
else:
    body = Path(field("--field").removeprefix("body=@")).read_text()
    if field("--method") == "POST":
        assert path == "repos/o/n/issues/7/comments"
        comments.append({"id": len(comments) + 1, "user": {"type": "Bot"}, "body": body})
    else:
        next(c for c in comments if path == f"repos/o/n/issues/comments/{c['id']}")["body"] = body
    file.write_text(json.dumps(comments))
"""


def git(folder: Path, *words: str) -> str:
    who = ["-c", "user.name=A", "-c", "user.email=a@b", "-c", "commit.gpgsign=false"]
    return subprocess.run(
        ["git", "-C", folder, *who, *words], capture_output=True, text=True, check=True
    ).stdout.strip()


@pytest.fixture
def remote(tmp_path) -> Path:
    """A bare repository with the scripts in it, two commits of them."""
    seed, bare = tmp_path / "seed", tmp_path / "remote.git"
    seed.mkdir()
    git(seed, "init", "--quiet", "--initial-branch=main")
    shutil.copytree(ROOT / "tools", seed / "tools")
    (seed / ".gitignore").write_text((ROOT / ".gitignore").read_text())
    git(seed, "add", ".")
    git(seed, "commit", "--quiet", "--message=one")
    git(seed, "commit", "--quiet", "--allow-empty", "--message=two")
    git(tmp_path, "clone", "--quiet", "--bare", str(seed), str(bare))
    return bare


@pytest.fixture
def checkout(remote, tmp_path, monkeypatch):
    """Makes clean clones, with stand-ins on their paths."""
    stand_ins = tmp_path / "bin"
    stand_ins.mkdir()
    for name, text in (("make", '#!/bin/sh\necho "make $*" >> "$CALLED"\n'), ("gh", GH)):
        (stand_ins / name).write_text(text)
        (stand_ins / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{stand_ins}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("CALLED", str(tmp_path / "called"))
    monkeypatch.setenv("CODE", "0")

    def clone(name: str) -> Path:
        folder = tmp_path / name
        git(tmp_path, "clone", "--quiet", str(remote), str(folder))
        resbench = folder / ".venv" / "bin" / "resbench"
        resbench.parent.mkdir(parents=True)
        resbench.write_text(RESBENCH)
        resbench.chmod(0o755)
        return folder

    return clone


@pytest.mark.parametrize("code, red", [(0, False), (1, True), (2, True), (3, False), (4, True)])
@pytest.mark.parametrize("place, step", [("tests.yml:compare", "Compare"), ("throughput.yml:compare", "Compare")])
def test_a_comparison_is_red_or_green_and_always_told(checkout, tmp_path, monkeypatch, place, step, code, red):
    monkeypatch.setenv("CODE", str(code))
    summary = tmp_path / "summary.md"
    clone = checkout("clone")
    codes = perform(JOBS[place], clone, summary, os.environ)
    assert bool(codes[step]) is red
    assert codes["Summary"] == 0
    assert summary.read_text() == "## written by compare\n"
    assert sorted(path.name for path in (clone / "reports" / "comparison").iterdir()) == [
        "comparison.json",
        "comparison.md",
        "junit.xml",
    ]
    assert not git(clone, "status", "--porcelain", "--", "reports", "results")
    assert (tmp_path / "called").read_text().splitlines()[0] == "make setup"


def test_tests_and_lint_are_the_repositorys_own(checkout, tmp_path):
    codes = perform(JOBS["tests.yml:tests"], checkout("clone"), tmp_path / "summary.md", os.environ)
    assert set(codes.values()) == {0}
    assert (tmp_path / "called").read_text().split("\n")[:-1] == ["make setup", "make test", "make lint"]


def test_a_gate_is_recorded_red_or_green_and_the_next_one_finds_it(checkout, remote, tmp_path, monkeypatch):
    for number, code in enumerate(("0", "1", "3")):
        monkeypatch.setenv("CODE", code)
        gated = checkout(f"gate{number}")
        codes = perform(JOBS["throughput.yml:gate"], gated, tmp_path / "summary.md", os.environ)
        assert (codes["Fetch the history"], codes["Gate"], codes["Trend"]) == (0, int(code == "1"), 0)
        recorder = checkout(f"record{number}")
        shutil.copytree(gated / "results" / "history", recorder / "results" / "history")  # the artifact
        assert set(perform(JOBS["throughput.yml:record"], recorder, tmp_path / "none", os.environ).values()) == {0}
        assert len(recorded(remote)) == number + 1
    assert (tmp_path / "summary.md").read_text() == "## written by gate\n" * 3


def test_a_comment_is_written_once_and_then_again(checkout, tmp_path, monkeypatch):
    comments = tmp_path / "comments.json"
    quoted = {"id": 1, "user": {"type": "User"}, "body": "<!-- resbench: throughput -->\nquoted"}
    comments.write_text(json.dumps([quoted]))
    monkeypatch.setenv("COMMENTS", str(comments))
    monkeypatch.setenv("GITHUB_REPOSITORY", "o/n")
    clone = checkout("clone")
    text = clone / "reports" / "comparison" / "comparison.md"
    text.parent.mkdir(parents=True)
    context = {"github.token": "t", "github.event.pull_request.number": "7"}
    for written in ("first", "second", "ä" * 40_000):
        text.write_text(written)
        codes = perform(JOBS["throughput.yml:comment"], clone, tmp_path / "none", os.environ, context)
        assert set(codes.values()) == {0}
        kept, ours = json.loads(comments.read_text())
        assert kept == quoted
        assert ours["body"].startswith(f"<!-- resbench: throughput -->\n{written[:32_000]}")
        assert len(ours["body"].encode()) < 65_536
    assert ours["body"].endswith("artifact.)\n")


# The history's branch


def recorded(remote: Path) -> dict[str, str]:
    """The files of the history's branch, and what is in them."""
    names = git(remote, "-c", "core.quotePath=off", "ls-tree", "-r", "--name-only", "throughput-history").splitlines()
    return {name: git(remote, "show", f"throughput-history:{name}") for name in names}


def start(clone: Path, what: str, folder: Path, *more: str, **env: str) -> subprocess.Popen[str]:
    command = ["tools/history.sh", what, "throughput-history", str(folder), *more]
    return subprocess.Popen(
        command, cwd=clone, env=os.environ | env, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )


def history(clone: Path, what: str, folder: Path, *more: str, **env: str) -> tuple[int, str]:
    process = start(clone, what, folder, *more, **env)
    return (process.communicate()[0], process.returncode)[::-1]


def part(folder: Path, name: str, text: str) -> None:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def test_pushers_at_once_lose_nothing(checkout, remote):
    clones = [checkout(f"clone{number}") for number in range(4)]
    for number, clone in enumerate(clones):
        part(clone / "h", f"marks/{number}.parquet", f"part {number}")
    pushers = [start(clone, "push", Path("h")) for clone in clones]
    said = [pusher.communicate()[0] for pusher in pushers]
    assert [pusher.returncode for pusher in pushers] == [0] * 4, said
    assert recorded(remote) == {f"marks/{number}.parquet": f"part {number}" for number in range(4)}
    assert git(remote, "rev-list", "--count", "throughput-history") == "4"


def test_a_push_that_comes_second_starts_from_the_first(checkout, remote):
    """Another's push between fetch and push, made sure of by a hook of the second's clone."""
    first, second = checkout("first"), checkout("second")
    part(first / "h", "a.parquet", "a")
    part(second / "h", "b.parquet", "b")
    hook = second / ".git" / "hooks" / "pre-push"
    hook.write_text(f"#!/bin/sh\nrm $0; cd {first} && env -u GIT_DIR tools/history.sh push throughput-history h\n")
    hook.chmod(0o755)
    code, said = history(second, "push", Path("h"))
    assert code == 0
    assert "try 1 came to nothing" in said
    assert recorded(remote) == {"a.parquet": "a", "b.parquet": "b"}


def test_a_history_comes_and_goes_and_only_grows(checkout, remote, tmp_path):
    clone, folder = checkout("clone"), tmp_path / "far" / "h"
    assert history(clone, "pull", folder) == (0, f"throughput-history: 0 parts in {folder}\n")
    part(folder, "marks/a.parquet", "a")
    part(folder, "marks/b.tmp", "not a part")
    part(folder, ".index/c.parquet", "can be made again")
    assert history(clone, "push", folder)[0] == 0
    assert history(clone, "push", folder) == (0, "throughput-history: nothing new\n")
    part(folder, "marks/a.parquet", "changed")  # a part never changes, and the branch's stays
    part(folder, "marks/d é.parquet", "d")
    assert history(clone, "push", folder)[0] == 0
    assert recorded(remote) == {"marks/a.parquet": "a", "marks/d é.parquet": "d"}
    other = checkout("other")
    part(other / "h", "marks/e.parquet", "e")
    assert history(other, "pull", Path("h")) == (0, "throughput-history: 3 parts in h\n")
    assert (other / "h" / "marks" / "d é.parquet").read_text() == "d"
    assert history(other, "push", Path("h"), str(remote)) == (0, "throughput-history: 1 parts more\n")
    for used in (clone, other):
        assert git(used, "status", "--porcelain", "--untracked-files=no") == ""
        assert not list((used / ".git").glob("history-*"))


def test_a_history_out_of_reach_is_an_error_and_not_an_empty_one(checkout, tmp_path):
    clone, folder = checkout("clone"), tmp_path / "h"
    part(folder, "a.parquet", "a")
    assert history(clone, "pull", folder, str(tmp_path / "nowhere"))[0] == 128
    code, said = history(clone, "push", folder, str(tmp_path / "nowhere"), TRIES="2")
    assert (code, said.count("came to nothing")) == (1, 2)
    assert history(clone, "push", tmp_path / "none")[0] == 2
    assert history(clone, "remove", folder)[0] == 2


# docs/ci.md


@pytest.mark.parametrize("code", ["0", "1", "3"])
def test_the_nightly_script_measures_a_new_commit_once_and_tells_what_is_not_green(
    checkout, tmp_path, monkeypatch, code
):
    monkeypatch.setenv("CODE", code)
    monkeypatch.setenv("HOME", str(tmp_path))
    checkout("resbench")
    runs = [
        subprocess.run(["bash", "-c", NIGHTLY], capture_output=True, text=True, check=False, cwd=tmp_path)
        for _ in range(2)
    ]
    assert [run.stdout for run in runs] == (["", ""] if code == "0" else ["## written by gate\n", ""]), runs
    assert [run.returncode for run in runs] == [int(code), 0]
    called = (tmp_path / "called").read_text()
    assert called.count("resbench gate") == 1


def test_gitlabs_jobs_keep_what_they_write():
    for name in ("compare", "gate"):
        job = GITLAB[name]
        assert job["allow_failure"] == {"exit_codes": 3}
        assert job["artifacts"]["when"] == "always"
        written = re.findall(r"--(?:markdown|junit|json) (\S+)", " ".join(job["script"]))
        assert job["artifacts"]["reports"]["junit"] in written
        assert all(file.startswith(tuple(job["artifacts"]["paths"])) for file in written)
