"""Whether images can be decoded by what decodes them in training; run in child processes of `bench.imagenet`."""

from __future__ import annotations

import re
import time
from collections.abc import Sequence
from typing import Any

from bench import views
from bench.errors import in_a_line
from bench.pages import Pages

SECONDS = 0.5  # between two messages


def examine(parts: Sequence[Pages], caller: Any) -> None:
    """Decode every image of several parts; sends twice a second (how many, [(where, why it cannot be decoded), …])."""
    seen, bad, said = 0, [], time.monotonic()
    for pages, number in ((part, number) for part in parts for number in range(len(part))):
        try:
            views.decode(pages.read(number))
        except (RuntimeError, OSError) as error:
            bad.append((pages.name(number), _reason(error)))
        seen += 1
        if time.monotonic() - said > SECONDS:
            caller.send((seen, bad))
            seen, bad, said = 0, [], time.monotonic()
            if caller.stopping():
                return
    caller.send((seen, bad))


def _reason(error: Exception) -> str:
    """In one line, without the place in torchvision's own source."""
    return re.sub(r"^.*\.cpp:\d+, ", "", in_a_line(error))
