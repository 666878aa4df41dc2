"""What a machine says of a cell that it ran for another: how it ended, where, by which code, on which data.

It travels and is left behind as JSON, gzipped: whoever reads it runs nothing that a folder holds.
"""

from __future__ import annotations

import gzip
import json
import zlib
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

from bench.errors import DataError, in_a_line
from bench.host import Host
from bench.run import Provenance

FORMAT = 1


@dataclass(frozen=True)
class Place:
    """Where and by which code a cell ran, from when on, for how many seconds."""

    host: Host
    provenance: Provenance
    started: datetime
    seconds: float

    def plain(self) -> dict[str, Any]:
        """Itself as JSON has it."""
        return asdict(self) | {"started": self.started.isoformat()}

    @classmethod
    def of_plain(cls, plain: dict[str, Any]) -> Place:
        """The inverse of `plain`."""
        host, provenance = Host(**plain["host"]), Provenance(**plain["provenance"])
        return cls(host, provenance, datetime.fromisoformat(plain["started"]), plain["seconds"])


@dataclass(frozen=True)
class Answer:
    """The end of one cell: the `value` its entry returned, or the `death` (`cause`, `reason` and `log` of a `Died`).

    `place` is None where it died before the machine knew itself.
    """

    cell_id: str
    data_sha256: str | None
    value: dict[str, Any] | None = None
    death: dict[str, str] | None = None
    place: Place | None = None

    def packed(self) -> bytes:
        """Itself as bytes."""
        plain = vars(self) | {"format": FORMAT, "place": self.place and self.place.plain()}
        return gzip.compress(json.dumps(plain).encode(), mtime=0)

    @classmethod
    def unpacked(cls, content: bytes, cell_id: str, data_sha256: str | None) -> Answer:
        """The inverse of `packed`.

        Raises:
            DataError: where it is damaged, of another format, or not of this cell on this data; it names no file.
        """
        try:
            plain = json.loads(gzip.decompress(content))
            if plain.pop("format") != FORMAT:
                raise DataError("written by another version of resbench")
            answer = cls(**plain | {"place": plain["place"] and Place.of_plain(plain["place"])})
            if (answer.value is None) == (answer.death is None):
                raise ValueError("neither an end nor a death")
        except (OSError, EOFError, zlib.error, ValueError, TypeError, KeyError, AttributeError) as error:
            raise DataError(f"damaged ({in_a_line(error)})") from None
        if answer.cell_id != cell_id:
            raise DataError(f"of cell {answer.cell_id}")
        if answer.data_sha256 != data_sha256:
            raise DataError(f"of other data (checksum {str(answer.data_sha256)[:12]}, here {str(data_sha256)[:12]})")
        return answer
