"""The seal of a parquet file: a checksum in its footer, by which a flipped bit or a missing piece is found.

Its footer's metadata has the seal: from which byte on it holds, and the SHA-256 of all from there to the end, with that
checksum's own digits taken for zeros. A file of one piece is sealed from its first byte on. This form is kept by all
later versions: who cannot read a table can tell whether it is whole.
"""

from __future__ import annotations

import hashlib
import re

KEY = b"resbench.seal"
_ALGORITHM = b"sha256:"
_DIGITS = 64
_FORM = re.compile(re.escape(_ALGORITHM) + rb"(\d{16}):([0-9a-f]{%d})" % _DIGITS)


class BrokenSealError(ValueError):
    """What is sealed is not as it was written."""


def blank(start: int = 0) -> dict[bytes, bytes]:
    """Metadata for a footer: a seal from byte `start` on, still to be filled in by `sealed`."""
    return {KEY: _ALGORITHM + b"%016d:" % start + b"0" * _DIGITS}


def sealed(content: bytes) -> bytes:
    """`content`, from the seal's start to the end of the file, with its blank seal filled in."""
    at = _place(content)
    return content[:at] + _digest(content, at) + content[at + _DIGITS :]


def start(content: bytes) -> int | None:
    """Of a file's end, the byte of the file from which on it is sealed; None where it has no seal.

    Raises:
        BrokenSealError: where its seal is damaged.
    """
    at = _place(content)
    if at is None:
        return None
    return int(content[at - 17 : at - 1])


def check(content: bytes) -> bool:
    """Whether there is a seal in `content`, from the seal's start to the end of the file.

    Raises:
        BrokenSealError: where there is one that does not hold.
    """
    at = _place(content)
    if at is None:
        return False
    if content[at : at + _DIGITS] != _digest(content, at):
        raise BrokenSealError("its checksum is not that of its bytes")
    return True


def checksum(content: bytes) -> str:
    """Of bytes that a seal's metadata name."""
    return hashlib.sha256(content).hexdigest()


def _digest(content: bytes, at: int) -> bytes:
    view = memoryview(content)
    found = hashlib.sha256(view[:at])
    found.update(b"0" * _DIGITS)
    found.update(view[at + _DIGITS :])
    return found.hexdigest().encode()


def _place(content: bytes) -> int | None:
    """Where the checksum is. Key and algorithm are two marks: one flipped bit cannot make a sealed file an unsealed."""
    key, mark = content.rfind(KEY), content.rfind(_ALGORITHM)
    if key < 0 and mark < 0:
        return None
    value = key + len(KEY) + 2  # between them, the value's type and length
    if key < 0 or value != mark or not (form := _FORM.match(content, value)):
        raise BrokenSealError("its seal is damaged")
    return form.start(2)
