"""A study's report: one Markdown text, and the same as a self-contained HTML page. Made from the tables alone."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from bench import figures, page, run, statement, tables
from bench.cell import Cell
from bench.errors import StoreError
from bench.host import Host
from bench.parts import replacing
from bench.picture import Picture
from bench.seeds import planned
from bench.store import Store
from bench.study import Study
from bench.summary import Summary, span, summaries
from bench.table import Table
from bench.texts import block, code, escaped, paragraph
from bench.verdict import Verdict, judge

ANALYSES = ("responses", "gradients", "slices")  # figures that stand with the analysis
NETS_NOTE = """\
Mean ± half-width of the 95 % interval over n seeds (Student's t), those that are done. Final errors are those after the
last iteration; the best test error is the lowest of any evaluation, chosen on the test set itself, and shown as papers
often report it. Images a second count training steps alone, with other cells running beside. Peak memory is, on a CPU,
by how much the process's resident set grew beyond Python and torch; on a GPU, the peak of torch's allocator."""
VIEWS_NOTE = """\
The images are of any size. Where nothing else is said an error is on one view an image: the crop at the centre, the
shorter side scaled to 256/224 of it; the training error is on as many training images as the recipe's train_sample.
10-crop: the softmax scores of the crops at the centre and the four corners, and of their mirror images, averaged.
Multi-scale: the net applied to whole images as a convolution, its scores averaged over several lengths of the shorter
side (224, 256, 384, 480 and 640 where crops have 224; section 3.4). Both are of the last net alone. Top-5: the right
class is not among the five of the highest scores."""
ABSENT_NOTE = "They are in no mean above; a diverged net counts in verdicts as one with an error of 100 %."
PAPER_NOTE = """\
Our mean ± half-width of its 95 % interval over n seeds, the published figure, and the first less the second. Only where
recipe and data are the same does the difference say anything of a reproduction."""
OPTIMISATION_NOTE = """\
A deeper net can do what a shallower one does: copy its layers and let those added be identities (section 1). What its
training error exceeds the shallower net's by is not a limit of the net but of finding its weights: a failure to
optimise, not overfitting. Beside each net the best of its shallower relatives, over the seeds both have; excess with
its 95 % interval; the share, given where that leaves out 0, estimates what is optimisation's at least."""
VERDICTS_NOTE = """\
The difference is left less right, at the look that decided or else at the latest (there are looks at n seeds, half as
many again, and so on); from and to are the ends of an interval that holds at every look, at the first the usual 95 %; p
is adjusted for the number of looks and of comparisons (Holm). The exact test assumes no normality; with few seeds it
cannot be small (1/8 at best for 3 pairs). A net that fails only now and then may not have failed in so few seeds: a
verdict that it is no worse wants ten or more. How, and at what simulated error rates: docs/statistics.md."""


def write(study: Study, cells: Sequence[Cell], store: Store, folder: Path, *, further: Sequence[Cell] = ()) -> Path:
    """Render a study's report into `folder/<name>/`: index.html, report.md, figures/ and tables/. Returns the page.

    `cells` are those the study plans; `further` those of more seeds that are recorded, which count as well.

    Raises:
        InputError: where nothing of the study is recorded.
        StoreError: where the tables cannot be read, or the pages not written.
    """
    found = summaries([*cells, *further], store, study.name)
    target = folder / study.name
    parts = [_part(study, cells, summary, number) for number, summary in enumerate(found)]
    text = _markdown(study, parts, store, folder)
    pictures = {_place(part, picture): picture for part in parts for picture in part.pictures.values()}
    try:
        save(target, study.title, text, pictures, {part.subfolder: list(part.tables.values()) for part in parts})
    except OSError as error:
        raise StoreError(f"{target}: cannot be written: {error.strerror}") from None
    return target / "index.html"


def save(
    target: Path, title: str, text: str, pictures: Mapping[str, Picture], tables: Mapping[str, Sequence[Table]]
) -> None:
    """Write a report's files: `pictures` by their place in the Markdown `text`, `tables` by subfolder of tables/."""
    for place, picture in pictures.items():
        picture.save((target / place).parent)
    for subfolder, own in tables.items():
        for table in own:
            _write(target / "tables" / subfolder / f"{table.name}.csv", table.csv())
            _write(target / "tables" / subfolder / f"{table.name}.tex", table.latex())
    _write(target / "report.md", text)
    _write(target / "index.html", page.render(title, text, pictures))


def _write(path: Path, text: str) -> None:
    with replacing(path) as temporary:
        temporary.write_text(text)


@dataclass(frozen=True)
class Part:
    """What the report says of one host."""

    summary: Summary
    verdicts: tuple[Verdict, ...]
    pictures: Mapping[str, Picture]  # by kind, in the study's order
    tables: Mapping[str, Table]
    subfolder: str  # of figures/ and tables/: none for the first host


def _part(study: Study, cells: Sequence[Cell], summary: Summary, number: int) -> Part:
    verdicts = judge(study.claims, summary.nets, planned(cells))
    drawn = ((figure.kind, figures.draw(figure.kind, summary, figure.title)) for figure in study.figures)
    made = [
        tables.nets(summary),
        tables.verdicts(verdicts),
        tables.against_paper(summary),
        tables.optimisation(summary),
    ]
    return Part(
        summary=summary,
        verdicts=tuple(verdicts),
        pictures={kind: picture for kind, picture in drawn if picture},
        tables={table.name: table for table in made if table and table.rows},
        subfolder=f"host-{number + 1}" if number else "",
    )


def _markdown(study: Study, parts: Sequence[Part], store: Store, folder: Path) -> str:
    text = [f"# {escaped(study.title)}", "\n".join(map(paragraph, study.question.splitlines()))]
    for part in parts:
        if len(parts) > 1:
            text.append(f"# On {escaped(part.summary.host.label)}")
        first, *others = [kind for kind in part.pictures if kind not in ANALYSES] or [None]
        text += [_headline(part), _picture(part, first) if first else "", _verdicts(part)]
        text += [_picture(part, kind) for kind in others]
        text += [_section(part, "nets", "All nets", _nets_note(part.summary)), _absent(part.summary)]
        text += [_section(part, "paper", "Against the paper", PAPER_NOTE) or _no_counterpart(part.summary)]
        text += [_analysis(part), _section(part, "verdicts", "The claims in numbers", VERDICTS_NOTE)]
        text.append(_provenance(part.summary))
    text.append(_again(study, parts, store, folder))
    return "\n\n".join(filter(None, text)) + "\n"


def _headline(part: Part) -> str:
    nets = part.summary.nets
    done, cells = sum(net.count(run.DONE) for net in nets), sum(len(net.cells) for net in nets)
    data = ", ".join(dict.fromkeys(net.cells[0].data.rpartition(":")[2] for net in nets))
    seeds = span(len(net.cells) for net in nets)
    said = f"{statement.tally(part.verdicts)}. " if part.verdicts else ""
    what = f"{done} of {cells} cells done, {seeds} a net; data {data}; {part.summary.host.label}."
    return f"**{escaped(said + what)}**"


def _picture(part: Part, kind: str) -> str:
    picture = part.pictures[kind]
    return f"![{escaped(picture.alternative)}]({_place(part, picture)})\n\n*{escaped(picture.caption)}*"


def _place(part: Part, picture: Picture) -> str:
    return (Path("figures") / part.subfolder / f"{picture.name}.svg").as_posix()


def _verdicts(part: Part) -> str:
    if not part.verdicts:
        return ""
    lines = [
        f"- {statement.MARKS[verdict.ruling]} **{verdict.ruling}**: {escaped(verdict.claim.says)}\\\n"
        f"  {escaped(statement.evidence(verdict))}"
        for verdict in part.verdicts
    ]
    return "\n".join(["## Verdicts", "", *lines])


def _section(part: Part, name: str, title: str, note: str) -> str:
    if name not in part.tables:
        return ""
    return "\n\n".join([f"## {title}", part.tables[name].markdown(), note])


def _nets_note(summary: Summary) -> str:
    streamed = any(net.cells[0].recipe.crop_size for net in summary.nets)
    return "\n\n".join([NETS_NOTE, VIEWS_NOTE]) if streamed else NETS_NOTE


def _absent(summary: Summary) -> str:
    lines = [f"- {escaped(net.name)}: {escaped(what)}" for net, what in tables.absent(summary)]
    if not lines:
        return "Every cell is done: none is missing, failed or diverged."
    return "\n".join(["## Missing, failed and diverged cells", "", *lines, "", ABSENT_NOTE])


def _no_counterpart(summary: Summary) -> str:
    data = ", ".join(dict.fromkeys(escaped(net.cells[0].data) for net in summary.nets))
    return f"## Against the paper\n\nOf such nets on {data} the paper prints no figure, so none is set beside them."


def _analysis(part: Part) -> str:
    pictures = [_picture(part, kind) for kind in part.pictures if kind in ANALYSES]
    table = [part.tables["optimisation"].markdown(), OPTIMISATION_NOTE] if "optimisation" in part.tables else []
    return "\n\n".join(["## Why it happens", *table, *pictures]) if table or pictures else ""


def _provenance(summary: Summary) -> str:
    runs, host = summary.runs, summary.host

    def distinct(column: str) -> str:
        return escaped(", ".join(sorted({str(value) for value in runs[column].dropna()}))) or "unknown"

    torch = f"torch {host.torch}" + (f", CUDA {host.cuda}, cuDNN {host.cudnn}" if host.cuda else "")
    dirty = " with uncommitted changes" if runs["dirty"].fillna(False).any() else ""
    commits = escaped(", ".join(sorted({c[:12] for c in runs["commit"].dropna()}))) or "unknown"
    spread = runs["devices"].fillna(1).max()  # of rows from before cells could be: on one
    over = f", each over {spread:.0f} devices at most" if spread > 1 else ""
    sharing = f"{runs['sharing'].min():.1f} to {runs['sharing'].max():.1f}"
    lines = [
        f"- Machine: {escaped(machine(host))} (host {host.id}).",
        f"- Software: resbench {distinct('resbench_version')} at commit {commits}{dirty}, {escaped(torch)}, "
        f"torchvision {distinct('torchvision_version')}, numpy {distinct('numpy_version')}, "
        f"Python {distinct('python_version')}.",
        f"- Data: {', '.join(_checksums(runs))}.",
        f"- Run {runs['started'].min():%Y-%m-%d %H:%M} to {runs['finished'].max():%Y-%m-%d %H:%M} UTC, "
        f"{runs['workers'].max()} cells at a time ({sharing} on a device, time-weighted){over}, one thread each; "
        f"{runs['wall_seconds'].sum() / 60:.1f} cell-minutes in all.",
        *_reading(runs),
    ]
    return "\n".join(["## Hardware, software, data", "", *lines])


def _reading(runs: pd.DataFrame) -> Iterator[str]:
    """How long training waited for images that are read meanwhile."""
    read = runs[runs["data_seconds"].notna()]
    if not len(read):
        return
    waited = 100 * read["data_seconds"].astype(float) / read["train_seconds"].astype(float)
    loaders = sorted({f"{count:.0f}" for count in read["loaders"]}, key=int)
    by = "by the cell's own process" if loaders == ["0"] else f"by {' or '.join(loaders)} processes a cell"
    bad = int(read["bad_images"].sum())
    yield (
        f"- Images read {by}; training waited for them {waited.min():.0f} to {waited.max():.0f} % of its time"
        f"{f'; {bad} that could not be decoded were skipped' if bad else ''}."
    )


def machine(host: Host) -> str:
    """What a machine is, in words, but for its software."""
    parts = [f"{host.cpu}, {host.cores} cores, {host.memory_gib} GiB, {host.system}"]
    if host.gpu:
        watts = f", {host.gpu_power_limit_watts:g} W" if host.gpu_power_limit_watts else ""
        parts.insert(0, f"{host.gpu}, {host.gpu_memory_gib} GiB{watts}, driver {host.driver}")
    return "; ".join(parts)


def _checksums(runs: pd.DataFrame) -> Iterable[str]:
    for (data, streamed), checksums in runs.groupby(["data", "streamed"])["data_sha256"].unique().items():
        yield f"{escaped(str(data))}{' as files' if streamed else ''}, sha256 {escaped(str(checksums[0]))}"


def _again(study: Study, parts: Sequence[Part], store: Store, folder: Path) -> str:
    settings = "".join(f" --set {shlex.quote(f'{key}={_toml(value)}')}" for key, value in study.overrides.items())
    named = f" --name {shlex.quote(study.name)}" if study.name != study.path.stem else ""
    place = "" if str(store.root) == "results" else f" --results {shlex.quote(store.root.as_posix())}"
    which = study.path.stem if study.path.parent.name == "ablations" else study.path.as_posix()
    common = f"{shlex.quote(which)}{settings}{named}{place}"
    pages = "" if str(folder) == "reports" else f" --reports {shlex.quote(folder.as_posix())}"
    commands = [
        f"resbench run {common}    # the cells that are not recorded",
        *(f"resbench run {common} {more}    # further seeds" for more in _further(study, parts)),
        *(f"resbench slices {common} {which}    # the loss around them" for which in _sliced(parts)),
        f"resbench report {common}{pages}    # this page, from the tables",
        *([f"resbench judge {common}    # the verdicts, as an exit code"] if study.claims else []),
    ]
    tables = (
        f"The tables: {code(f'{store.root.as_posix()}/runs')}, `curves`, `layers`, `slices` and `hosts`, parquet; "
        "those of this page as CSV and LaTeX: `tables/` beside it."
    )
    return "\n\n".join(["## Get it again", block(commands), tables])


def _sliced(parts: Sequence[Part]) -> Iterator[str]:
    summary = parts[0].summary if parts else None
    there = set(summary.slices["cell_id"]) if summary else set()
    for cell in (cell for net in (summary.nets if summary else ()) for cell in net.cells if cell.id in there):
        yield f"--only 'depth={cell.arch.depth},shortcut={cell.arch.shortcut},seed={cell.seed}'"


def _further(study: Study, parts: Sequence[Part]) -> Iterator[str]:
    """What runs the seeds that were recorded beyond those of the study."""
    plan = planned(study.cells)
    groups: dict[tuple[int, int], list[Cell]] = {}
    for net in parts[0].summary.nets if parts else ():
        cell = net.cells[0]
        if len(net.cells) > len(plan.get(cell.net, net.cells)):
            groups.setdefault((len(net.cells), cell.arch.depth), []).append(cell)
    for (seeds, depth), nets in groups.items():
        shortcuts = "|".join(dict.fromkeys(cell.arch.shortcut for cell in nets))
        yield f"--set seeds={seeds} --only 'depth={depth},shortcut={shortcuts}'"


def _toml(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value).replace(" ", "").replace("'", '"')
