"""What the template does once, by being imported last, before it is forked: its memory is put on huge pages.

A fork copies a page table, an entry a page: 70,000 of them with torch imported. With their removal at the child's end
that takes 19 ms, and 4 ms where pages are huge (2-core AMD EPYC, Linux 6.18). What a child writes to is copied in small
pages as ever. Its garbage collector passes over what the template made, which would write to all of it.
"""

from __future__ import annotations

import ctypes
import gc
import re
from pathlib import Path

HUGE = 2 << 20  # bytes
MADV_COLLAPSE = 25  # of Linux 6.1 and later, which others refuse

_ANONYMOUS = re.compile(r"([0-9a-f]+)-([0-9a-f]+) rw-p \S+ 00:00 0 *(?:\[heap\])?$")


def collapse() -> None:
    """Put this process's heap on huge pages, as far as the kernel will."""
    try:
        mappings = Path("/proc/self/maps").read_text().splitlines()
        advise = ctypes.CDLL(None).madvise
    except (OSError, AttributeError):
        return
    for mapping in filter(None, map(_ANONYMOUS.match, mappings)):
        low, high = (int(mapping[group], 16) for group in (1, 2))
        for page in range(-(-low // HUGE) * HUGE, high - HUGE + 1, HUGE):
            advise(ctypes.c_void_p(page), ctypes.c_size_t(HUGE), MADV_COLLAPSE)


gc.collect()
gc.freeze()
collapse()
