"""How a cell ended, committed; and what its child or machine left behind, removed."""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime

from bench import run
from bench.analysis import layers_of
from bench.answer import Place
from bench.attempts import Attempt
from bench.evaluation import Evaluation
from bench.forecast import Cost
from bench.host import Host
from bench.kept import Kept
from bench.leases import Leases
from bench.run import Run
from bench.store import Store
from bench.task import Died, Returned

NOT_LOADED = {"loaders": 0, "bad_images": 0, "data_seconds": None}  # of a cell whose images are on the device


@dataclass(frozen=True)
class Recorder:
    """Writes rows for a sweep on `host`, `workers` at a time.

    By cell id: the `costs` of a step, the `checksums` of the data, the `attempts` that earlier sweeps made.
    """

    store: Store
    leases: Leases
    kept: Kept
    host: Host
    costs: Mapping[str, Cost]
    checksums: Mapping[str, str | None]
    attempts: Mapping[str, int]
    workers: int
    keep_nets: bool

    def record(self, attempt: Attempt, curve: Sequence[Evaluation], outcome: str, end: Returned | Died) -> Run:
        """Commit how a cell ended. An `end` without a place was here, or nothing was heard of where it died.

        Raises:
            StoreError: when it cannot be written.
        """
        cell, death = attempt.cell, end if isinstance(end, Died) else None
        told = {} if death else end.value
        sharing = 1.0 if end.place else attempt.sharing
        place = end.place or Place(self.host, run.provenance(), attempt.started, attempt.seconds)
        result = Run(
            cell_id=cell.id,
            run_id=uuid.uuid4().hex[:12],
            outcome=outcome,
            attempts=self.attempts.get(cell.id, 0) + attempt.number,
            error=death.reason if death else None,
            log=death.log if death else None,
            **run.results(curve),
            **asdict(self.costs[cell.id]),
            wall_seconds=place.seconds,
            base_rss_bytes=told.get("base_rss_bytes"),
            device=attempt.slot.device.partition(":")[0],
            threads=1,
            workers=self.workers,
            sharing=sharing,
            **(dict.fromkeys(run.TESTS) | (told.get("tests") or {})),
            **(NOT_LOADED | (told.get("loading") or {})),
            devices=attempt.slot.devices,
            data_sha256=self.checksums[cell.id],
            host_id=place.host.id,
            started=place.started,
            finished=datetime.now(UTC),
            **asdict(place.provenance),
        )
        layers = layers_of(**told["layers"]) if told.get("layers") else []
        net = self.store.unclaimed_net(cell.id) if self.keep_nets and not death else None
        if net:
            self.kept.bring_net(cell.id, net)
        with self.leases.held():
            self.store.add_host(place.host)
            self.store.commit(cell, result, curve, layers, net)
            self.kept.forget(cell.id, checkpoint=not death)
            if not death:  # otherwise the checkpoint lets a rerun go on from where it died
                self.store.checkpoint(cell.id).unlink(missing_ok=True)
                self.store.log(cell.id).unlink(missing_ok=True)
        return result
