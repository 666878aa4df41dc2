"""Limits on this process, for a while."""

import resource
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def limited(kind: int, most: int) -> Iterator[None]:
    """A soft limit (`resource.RLIMIT_…`), no higher than the one there is."""
    soft, hard = resource.getrlimit(kind)
    resource.setrlimit(kind, (most if soft == resource.RLIM_INFINITY else min(most, soft), hard))
    try:
        yield
    finally:
        resource.setrlimit(kind, (soft, hard))


def no_file_larger_than(size: int):
    """Writing ends at so many bytes, as on a disk that is full, which only root can make."""
    return limited(resource.RLIMIT_FSIZE, size)
