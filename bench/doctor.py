"""What is wrong with a results folder, and what can be mended of it. Nothing is deleted but what no row names."""

from __future__ import annotations

import zipfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from bench import damage, packed
from bench.errors import StoreError
from bench.leases import Leases
from bench.parts import DamagedError
from bench.run import FINAL, OUTCOMES
from bench.store import Store

PASSES = 3  # of a folder with damaged rows, what else is wrong is found after these are set aside
AGAIN = "its cell is run again by the next resbench run"
OF_PACK = "set aside; what is whole stays, and cells that lose something are run again by the next resbench run"


@dataclass(frozen=True)
class Finding:
    """Something wrong: what, and what can be done; `mend` does it and tells what it did, None where nobody here can."""

    what: str
    advice: str
    mend: Callable[[], str] | None = None


def examine(store: Store) -> Iterator[Finding]:
    """Everything wrong with a folder's tables, nets and checkpoints; nothing is changed.

    Raises:
        StoreError: when the folder cannot be read.
    """
    damaged = store.damaged()
    for harm in damaged:
        advice = f"set aside; {AGAIN}" if packed.number(harm.path.name) is None else OF_PACK
        yield Finding(str(harm).partition("; ")[0], advice, _setting_aside(store, harm.path))
    for name in ("runs", *damage.PARTS, "hosts"):
        try:
            store.table(name).read(columns=["schema_version"])
        except DamagedError:
            continue  # told above
        except StoreError as error:
            yield Finding(str(error), "left as it is")
    for path in sorted(store.root.glob("checkpoints/*.pt")):
        if reason := _damage_of(path):
            yield Finding(f"{path}: {reason}", "set aside; its cell begins again", _renaming(path))
    if not damaged:
        yield from _of_rows(store)


def _of_rows(store: Store) -> Iterator[Finding]:
    """What rows name and is not there, and what is there and no row names."""
    try:
        named = set(store.runs(columns=["host_id"])["host_id"].unique().to_pylist())
        hosts, lacking = store.table("hosts").stems(), store.lacking()
    except StoreError:
        return  # told before
    if lacking:
        what = f"{damage.named(lacking.values())}: missing, though a row is there"
        yield Finding(what, f"the row is set aside; {AGAIN}", _withdrawing(store, set(lacking)))
    for host_id in sorted(named - hosts):
        where = store.table("hosts").file(host_id)
        yield Finding(f"{where}: missing, and runs name it", "copy it from where they ran; reports need it")
    if not others(store):
        for path in store.leftovers():
            yield Finding(f"{path}: named by no row", "removed", _removing(path))


def others(store: Store) -> list[str]:
    """The orchestrators that run cells here now; none where the folder is read only, for then nobody can."""
    if not store.root.is_dir():
        return []
    try:
        return sorted(one.label for one in Leases(store.root).others())
    except StoreError:
        return []


def counted(store: Store) -> str:
    """How many cells are recorded, who runs more of them, and how often something was set aside.

    Raises:
        StoreError: when a table is damaged or newer.
    """
    recorded = store.runs(columns=["outcome"])["outcome"].to_pylist()
    outcomes = ", ".join(f"{recorded.count(outcome)} {outcome}" for outcome in OUTCOMES if outcome in recorded)
    again = sum(outcome not in FINAL for outcome in recorded)
    aside = len(list(store.root.glob("damaged/*")))
    said = [f"{len(recorded)} cells recorded{f': {outcomes}' if recorded else ''}"]
    said += [f"the next resbench run tries {again} of them again"] if again else []
    said += [f"{who} runs cells" for who in others(store)]
    said += [f"{store.root / 'damaged'} has what was set aside ({aside})"] if aside else []
    return "; ".join(said)


def mended(store: Store, findings: Sequence[Finding], leases: Leases) -> Iterator[tuple[Finding, str]]:
    """Mend what can be, and what is found only then, while others are kept from writing; each with what was done.

    Raises:
        StoreError: when something cannot be mended after all.
    """
    for _ in range(PASSES):
        for finding in (finding for finding in findings if finding.mend):
            with leases.held():
                yield finding, finding.mend()
        findings = list(examine(store))


def _damage_of(path: Path) -> str | None:
    """Of a file that torch saved, by its checksums."""
    try:
        with zipfile.ZipFile(path) as records:
            damaged = records.testzip()
    except FileNotFoundError:
        return None  # its cell has just ended
    except (OSError, zipfile.BadZipFile, NotImplementedError, RuntimeError) as error:
        return f"damaged ({error})"
    return f"damaged (record {damaged})" if damaged else None


def _setting_aside(store: Store, path: Path) -> Callable[[], str]:
    def mend() -> str:
        aside = store.set_aside(path)
        return str(aside) if aside else "whole by now"

    return mend


def _withdrawing(store: Store, ids: set[str]) -> Callable[[], str]:
    def mend() -> str:
        gone, where = store.withdraw(ids)
        if not gone:
            return "there by now"
        return f"set aside in {where}, {len(gone)} cell{'s' if len(gone) > 1 else ''} to run again"

    return mend


def _renaming(path: Path) -> Callable[[], str]:
    return lambda: f"set aside as {path.rename(path.with_suffix('.damaged'))}"


def _removing(path: Path) -> Callable[[], str]:
    def mend() -> str:
        path.unlink(missing_ok=True)
        return "removed"

    return mend
