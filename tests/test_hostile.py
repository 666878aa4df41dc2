"""A study, a machine, runs and folders whose every text is hostile, through what shows them: they stay texts."""

import csv
import io
import json
import re
import shlex
from html.parser import HTMLParser

import pytest
from hostile import FORMULAS, NASTY
from markdown_it import MarkdownIt
from synthetic import a_curve, a_host, a_run

from bench import cli, report, run, study, texts
from bench.store import Store

BENIGN = "plain words"
QUESTION = "{0}\n# {0}\n\n- {0}\n1. {0}\n---\n===\n\n> {0}\n"
STUDY = """
title = {title}
question = {question}
[matrix]
data = "digits"
depth = [8, 20]
shortcut = ["none", "A"]
seeds = 3
[recipe]
iterations = 100
batch = 32
drops = [50, 75]
eval_every = 25
split = "holdout"
[[claim]]
says = {says}
left = {{ depth = 20, shortcut = "none" }}
right = {{ depth = 8, shortcut = "none" }}
[[figure]]
kind = "errors"
title = {figure}
[[figure]]
kind = "throughput"
title = {figure}
"""
COMMANDS = re.compile(r"^resbench .*?(?=    # )", re.MULTILINE)


def written(root, word, name, formula=""):
    """(the study, its store, its reports' folder): every text is `word`, folders are called `name`."""
    root.mkdir(parents=True)
    texts_of = {"title": word, "question": QUESTION.format(word), "says": formula + word, "figure": word}
    path = root / "made.toml"
    path.write_text(STUDY.format(**{key: json.dumps(text) for key, text in texts_of.items()}))
    found, store = study.load(path), Store(root / f"{name}results")
    host = a_host(cpu=word, system=word, torch=word, gpu=word, driver=word, cuda=word, cudnn=7, gpu_memory_gib=1)
    store.add_host(host)
    versions = dict.fromkeys(("resbench_version", "torchvision_version", "numpy_version", "python_version"), word)
    for cell in found.cells:
        failed = cell.arch.depth == 20 and cell.arch.shortcut == "A" and cell.seed == 0
        curve = [] if failed else a_curve(cell, 0.02 + cell.seed / 100)
        told = {"error": word, "log": word} if failed else {}
        outcome = run.FAILED if failed else run.DONE
        more = versions | told | {"data_sha256": word, "commit": word, "host_id": host.id, "outcome": outcome}
        store.commit(cell, a_run(cell, curve, host, **more), curve)
    return found, store, root / f"{name}reports"


@pytest.fixture(scope="module")
def both(tmp_path_factory):
    """The same report of benign and of hostile texts: the studies, stores and folders, and the folders of the pages."""
    root, made = tmp_path_factory.mktemp("made"), []
    name = "$(touch pwned) `` ` ''' <b>x"
    for args in ((root / "benign", BENIGN, ""), (root / "hostile", NASTY, name, FORMULAS[0])):
        found, store, folder = written(*args)
        made.append((found, store, folder, report.write(found, found.cells, store, folder).parent))
    return made


class Elements(HTMLParser):
    """Every element, with the names of its attributes; the texts."""

    def __init__(self, text):
        super().__init__()
        self.found, self.texts = [], []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attributes):
        self.found.append((tag, [name for name, _ in attributes]))

    def handle_data(self, data):
        self.texts.append(data)


def test_the_page_has_the_elements_of_a_benign_one(both):
    benign, hostile = (Elements((page / "index.html").read_text()) for *_, page in both)
    assert len(hostile.found) == len(benign.found) > 300
    assert hostile.found == benign.found
    assert not [each for each in hostile.found if each[0] in ("a", "img", "iframe", "object", "form", "base")]
    said = " ".join("".join(hostile.texts).split())
    assert said.count("<img src=x onerror=alert(1)>") >= 10 and "\x1b" not in said and "\u202e" not in said


def test_a_browser_runs_and_fetches_nothing_of_it(both, browser):
    """In Chromium: no dialog, no request, no complaint of the page's own policy, and its own buttons work."""
    _, hostile = (page / "index.html" for *_, page in both)
    page, met = browser.new_page(), []
    page.on("dialog", lambda dialog: met.append(dialog.message) or dialog.dismiss())
    page.on("console", lambda message: met.append(message.text))
    page.on("pageerror", lambda error: met.append(str(error)))
    page.on("request", lambda request: met.append(request.url))
    page.goto(hostile.as_uri())
    for shown in page.locator("button:visible, th:visible").all():
        shown.click()
    assert set(met) == {hostile.as_uri()}
    assert page.locator(".picture").count() == 2 and "onerror" in page.inner_text("body")
    page.close()


def test_the_markdown_has_the_blocks_of_a_benign_one(both):
    """As GitHub reads it, which obeys HTML."""
    parser = MarkdownIt("commonmark", {"html": True}).enable(["table", "strikethrough"])
    kinds = [
        [
            (token.type, [child.type for child in token.children or () if child.type != "text"])
            for token in parser.parse((page / "report.md").read_text())
        ]
        for *_, page in both
    ]
    assert kinds[0] == kinds[1] and len(kinds[0]) > 100


def test_the_commands_of_the_page_can_be_pasted_into_a_shell(both):
    found, store, folder, page = both[1]
    commands = COMMANDS.findall((page / "report.md").read_text())
    assert len(commands) == 3
    for command in commands:
        words = shlex.split(command)  # as a shell does, quotes apart from which nothing is left to expand
        assert words[:1] == ["resbench"] and words[2] == found.path.as_posix()
        assert words[words.index("--results") + 1] == store.root.as_posix()
        assert command.count(shlex.quote(store.root.as_posix())) == 1
    assert f"--reports {shlex.quote(folder.as_posix())}" in commands[1]


def test_a_spreadsheet_computes_nothing(both):
    page = both[1][3]
    for path in (page / "tables").glob("*.csv"):
        cells = [cell for row in csv.reader(io.StringIO(path.read_text())) for cell in row]
        assert not [cell for cell in cells if cell[:1] in "=@\t\r+-" and cell and not re.match(r"[+-]?[\d.]", cell)]
    assert "'=HYPERLINK" in (page / "tables" / "verdicts.csv").read_text()


def test_latex_has_the_commands_of_a_benign_table(both):
    special = re.compile(r"\\(?:begin|end|input|toprule|midrule|bottomrule|\\)")
    for path in (both[0][3] / "tables").glob("*.tex"):
        hostile = (both[1][3] / "tables" / path.name).read_text()
        assert special.findall(hostile) == special.findall(path.read_text())


def test_nothing_is_written_outside_the_reports_folder(both):
    for *_, folder, page in both:
        assert page.parent == folder and [path.name for path in folder.iterdir()] == ["made"]
    assert not [*both[1][3].rglob("*pwned*")]


def test_the_terminal_shows_texts(both, capsys):
    found, store, *_ = both[1]
    assert cli.main(["judge", str(found.path), "--results", str(store.root)]) == 3
    assert cli.main(["judge", str(found.path), "--results", str(store.root), "--set", "depth=\x1b[31m[red]"]) == 2
    out, err = capsys.readouterr()
    assert "\x1b" not in out + err and "\u202e" not in out + err and err.count("\n") == 1
    assert "[red]markup[/red] :smile:" in out
    assert texts.one_line(NASTY) in out
