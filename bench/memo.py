"""What this machine remembers from one command to the next: JSON in its cache, made again where it is lost."""

from __future__ import annotations

import json
import logging
from typing import Any

from bench import host
from bench.parts import replacing

_log = logging.getLogger(__name__)


def recall(name: str) -> dict[str, Any]:
    """What is remembered in the file `name`; nothing where it is absent or damaged."""
    try:
        known = json.loads((host.cache_directory() / name).read_text())
    except (OSError, ValueError):
        return {}
    return known if isinstance(known, dict) else {}


def remember(name: str, found: dict[str, Any]) -> None:
    """Remember `found` beside what else is in the file."""
    known = recall(name) | found
    try:
        with replacing(host.cache_directory() / name) as temporary:
            temporary.write_text(json.dumps(known))
    except OSError as error:
        _log.info("%s is not remembered: %s", name, error)  # it is found out again next time
