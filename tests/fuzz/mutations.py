"""Valid files, damaged: flipped bits, pieces cut out, put in, written over and moved."""

from __future__ import annotations

from collections.abc import Sequence

from hypothesis import strategies as st

TELLING = (b"\x00", b"\xff", b"\xff" * 4, b"\x7f\xff\xff\xff", b"\x80", b"-1", b"9" * 25, b"[" * 50, b"\n", b'"', b"..")


def damaged(seeds: Sequence[bytes]) -> st.SearchStrategy[bytes]:
    """One of these files, with up to five damages."""
    piece = st.one_of(st.sampled_from(TELLING), st.binary(min_size=1, max_size=16))
    kind = st.sampled_from(("flip", "cut", "drop", "insert", "replace", "repeat"))
    damage = st.tuples(kind, st.floats(0, 1), st.integers(0, 64), piece)
    return st.tuples(st.sampled_from(list(seeds)), st.lists(damage, max_size=5)).map(lambda found: _done(*found))


def _done(data: bytes, damages: Sequence[tuple[str, float, int, bytes]]) -> bytes:
    for kind, share, length, piece in damages:
        at = int(share * len(data))
        end = at + length
        if kind == "flip":
            data = data[:at] + bytes(byte ^ (1 << length % 8) for byte in data[at : at + 1]) + data[at + 1 :]
        elif kind == "cut":
            data = data[:at]
        elif kind == "drop":
            data = data[:at] + data[end:]
        elif kind == "repeat":
            data = data[:at] + data[at:end] * 2 + data[end:]
        else:
            data = data[:at] + piece + data[at + (len(piece) if kind == "replace" else 0) :]
    return data
