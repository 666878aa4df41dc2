"""A study's report: one Markdown text, and the same as a self-contained HTML page. Made from the tables alone."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable, Sequence
from pathlib import Path

import pandas as pd

from bench import figures, page, run
from bench.cell import Cell
from bench.errors import StoreError
from bench.picture import Picture
from bench.stats import Estimate
from bench.store import Store, replacing
from bench.study import Claim, Study
from bench.summary import Summary, summaries

COLUMN = {"images_per_second": "images_per_second", "peak_memory": "peak_memory_bytes"}


def write(study: Study, cells: Sequence[Cell], store: Store, folder: Path) -> Path:
    """Render a study's report into `folder/<name>/`: index.html, report.md and figures/. Returns the HTML page.

    Raises:
        InputError: where nothing of the study is recorded.
        StoreError: where the tables cannot be read, or the pages not written.
    """
    found = summaries(cells, store)
    target = folder / study.name
    pictures = [_pictures(study, summary) for summary in found]
    text = _markdown(study, found, pictures, store, folder)
    try:
        for number, own in enumerate(pictures):
            for picture in own:
                picture.save(target / _figure_folder(number))
        _write(target / "report.md", text)
        _write(target / "index.html", page.render(study.title, text, _paths(pictures)))
    except OSError as error:
        raise StoreError(f"{target}: cannot be written: {error.strerror}") from None
    return target / "index.html"


def _write(path: Path, text: str) -> None:
    with replacing(path) as temporary:
        temporary.write_text(text)


def _figure_folder(number: int) -> Path:
    return Path("figures") if number == 0 else Path("figures") / f"host-{number + 1}"


def _paths(pictures: Sequence[Sequence[Picture]]) -> dict[str, Picture]:
    """The pictures by the path that the Markdown names."""
    return {_path(number, picture): picture for number, own in enumerate(pictures) for picture in own}


def _path(number: int, picture: Picture) -> str:
    return f"{(_figure_folder(number) / picture.name).as_posix()}.svg"


def _pictures(study: Study, summary: Summary) -> list[Picture]:
    drawn = (figures.draw(figure.kind, summary, figure.title) for figure in study.figures)
    return [picture for picture in drawn if picture]


def _markdown(study: Study, found: list[Summary], pictures: list[list[Picture]], store: Store, folder: Path) -> str:
    parts = [f"# {study.title}", study.question]
    for number, (summary, own) in enumerate(zip(found, pictures, strict=True)):
        if len(found) > 1:
            parts.append(f"# On {summary.host.label}")
        parts.append(_headline(summary))
        for picture in own:
            parts.append(f"![{_plain(picture.alternative)}]({_path(number, picture)})")
            parts.append(f"*{_plain(picture.caption)}*")
        parts += [_nets_table(summary), _cells_missing(summary), _claims(study, summary), _provenance(summary)]
    parts.append(_again(study, store, folder))
    return "\n\n".join(filter(None, parts)) + "\n"


def _headline(summary: Summary) -> str:
    done = sum(net.count(run.DONE) for net in summary.nets)
    cells = sum(len(net.cells) for net in summary.nets)
    data = ", ".join(dict.fromkeys(cell.data.rpartition(":")[2] for net in summary.nets for cell in net.cells))
    seeds = len({cell.seed for net in summary.nets for cell in net.cells})
    plural = "s" if seeds > 1 else ""
    return f"**{done} of {cells} cells done, {seeds} seed{plural}; data {data}; {summary.host.label}.**"


def _nets_table(summary: Summary) -> str:
    """The table of all nets: mean ± 95 % half-width over seeds, in percent."""
    validation = summary.held_out == "validation_error"
    head = ["net", "n", "training error, %", *(["validation error, %"] if validation else []), "test error, %"]
    head += ["test error at best validation, %"] if validation else []
    head += ["best test error, %", "parameters", "multiply-adds", "images/s", "peak memory, MB", "seconds a cell"]
    columns = ["final_train_error", *(["final_validation_error"] if validation else []), "final_test_error"]
    columns += ["test_error_at_best_validation"] if validation else []
    rows = [
        [
            f"{net.label} {_plain(net.variant)}".strip(),
            str(len(net.done)),
            *(_percent(net.estimate(column)) for column in [*columns, "best_test_error"]),
            *(_whole(net.rows[name]) for name in ("parameters", "multiply_adds")),
            _number(net.estimate("images_per_second"), 1, 0),
            _number(net.estimate("peak_memory_bytes"), 1e-6, 0),
            _number(net.estimate("wall_seconds"), 1, 1),
        ]
        for net in summary.nets
    ]
    return "\n\n".join(
        [
            "## All nets",
            _table(head, rows),
            "Mean ± half-width of the 95 % interval over n seeds (Student's t). Final errors are those after the last "
            "iteration; the best test error is the lowest of any evaluation, chosen on the test set itself, and shown "
            "as papers often report it. Images a second count training steps alone, with other cells running "
            "beside. Peak memory is, on a CPU, by how much the process's resident set grew beyond Python and torch; on "
            "a GPU, the peak of torch's allocator.",
        ]
    )


def _cells_missing(summary: Summary) -> str:
    lines = []
    for net in summary.nets:
        name = f"{net.label} {_plain(net.variant)}".strip()
        if net.missing:
            lines.append(f"- {name}: {net.missing} of {len(net.cells)} seeds not run on this host")
        for _, row in net.rows[net.rows["outcome"] != run.DONE].iterrows():
            why = f": {_plain(row['error'])}" if isinstance(row["error"], str) else ""
            at = f" at iteration {int(row['iteration']):,}" if pd.notna(row["iteration"]) else ""
            lines.append(f"- {name}, seed {row['seed']}: {row['outcome']}{at}{why}")
    if not lines:
        return "Every cell is done: none is missing, failed or diverged."
    return "\n".join(["## Missing, failed and diverged cells", "", *lines, "", "They are in no mean above."])


def _claims(study: Study, summary: Summary) -> str:
    if not study.claims:
        return ""
    head = ["claim", "metric", "left", "is", "right", "difference"]
    rows = [_claim(claim, summary) for claim in study.claims]
    note = "Declared in the study before it ran. Means and intervals as above; no verdict is given here."
    return "\n\n".join(["## Claims", _table(head, rows), note])


def _claim(claim: Claim, summary: Summary) -> list[str]:
    column = COLUMN.get(claim.metric, f"final_{claim.metric}")
    sides = [[net.estimate(column) for net in summary.select(side)] for side in (claim.left, claim.right)]
    left, right = (side[0] if len(side) == 1 else None for side in sides)
    errors = claim.metric.endswith("_error")
    scale, unit, digits = (100, " %", 1) if errors else (1e-6, " MB", 0) if "memory" in claim.metric else (1, "", 0)
    margin = f" by {claim.margin:g}{' points' if errors else unit} or more" if claim.margin else ""
    gap = f"{scale * (left.mean - right.mean):+.{digits}f}{' points' if errors else unit}" if left and right else "–"
    metric = claim.metric.replace("_", " ")
    show = (f"{_number(side, scale, digits)}{unit} (n={side.n})" if side else "–" for side in (left, right))
    first, second = show
    return [_plain(claim.says), metric, first, claim.relation + margin, second, gap]


def _provenance(summary: Summary) -> str:
    runs, host = summary.runs, summary.host

    def distinct(column: str) -> str:
        return ", ".join(sorted({str(value) for value in runs[column].dropna()})) or "unknown"

    machine = [f"{host.cpu}, {host.cores} cores, {host.memory_gib} GiB, {host.system}"]
    if host.gpu:
        watts = f", {host.gpu_power_limit_watts:g} W" if host.gpu_power_limit_watts else ""
        machine.insert(0, f"{host.gpu}, {host.gpu_memory_gib} GiB{watts}, driver {host.driver}")
    cuda = f", CUDA {host.cuda}, cuDNN {host.cudnn}" if host.cuda else ""
    dirty = " with uncommitted changes" if runs["dirty"].fillna(False).any() else ""
    commits = ", ".join(sorted({c[:12] for c in runs["commit"].dropna()})) or "unknown"
    sharing = f"{runs['sharing'].min():.1f} to {runs['sharing'].max():.1f}"
    lines = [
        f"- Machine: {'; '.join(machine)} (host {host.id}).",
        f"- Software: resbench {distinct('resbench_version')} at commit {commits}{dirty}, torch {host.torch}{cuda}, "
        f"torchvision {distinct('torchvision_version')}, numpy {distinct('numpy_version')}, "
        f"Python {distinct('python_version')}.",
        f"- Data: {', '.join(_checksums(runs))}.",
        f"- Run {runs['started'].min():%Y-%m-%d %H:%M} to {runs['finished'].max():%Y-%m-%d %H:%M} UTC, "
        f"{runs['workers'].max()} cells at a time ({sharing} on a device, time-weighted), one thread each; "
        f"{runs['wall_seconds'].sum() / 60:.1f} cell-minutes in all.",
    ]
    return "\n".join(["## Hardware, software, data", "", *lines])


def _checksums(runs: pd.DataFrame) -> Iterable[str]:
    for data, checksums in runs.groupby("data")["data_sha256"].unique().items():
        yield f"{_plain(str(data))}, sha256 {checksums[0]}"


def _again(study: Study, store: Store, folder: Path) -> str:
    settings = "".join(f" --set {shlex.quote(f'{key}={_toml(value)}')}" for key, value in study.overrides.items())
    named = f" --name {study.name}" if study.name != study.path.stem else ""
    place = "" if str(store.root) == "results" else f" --results {store.root.as_posix()}"
    which = study.path.stem if study.path.parent.name == "ablations" else study.path.as_posix()
    common = f"{which}{settings}{named}{place}"
    pages = "" if str(folder) == "reports" else f" --reports {folder.as_posix()}"
    lines = [
        "## Get it again",
        "",
        "```",
        f"resbench run {common}    # the cells that are not recorded",
        f"resbench report {common}{pages}    # this page, from the tables",
        "```",
        "",
        f"The tables: `{store.root.as_posix()}/runs`, `curves` and `hosts`, parquet.",
    ]
    return "\n".join(lines)


def _toml(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value).replace(" ", "").replace("'", '"')


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [head, ["---", *["--:"] * (len(head) - 1)], *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _percent(found: Estimate | None) -> str:
    return _number(found, 100, 1)


def _number(found: Estimate | None, scale: float, digits: int) -> str:
    if found is None:
        return "–"
    spread = f" ± {scale * found.half_width:,.{digits}f}" if found.half_width is not None else ""
    return f"{scale * found.mean:,.{digits}f}{spread}"


def _whole(column: pd.Series) -> str:
    known = column.dropna()
    return f"{int(known.iloc[0]):,}" if len(known) else "–"


def _plain(text: str) -> str:
    """Text from a study, a path or an error, so that it stays text within Markdown."""
    return re.sub(r"([\\`*_{}\[\]<>|#&!~])", r"\\\1", " ".join(text.split()))
