"""How images of any size are read, which changes no result."""

from __future__ import annotations

from dataclasses import dataclass

from bench.errors import DataError

FAIL, SKIP = BAD_IMAGES = "fail", "skip"


@dataclass(frozen=True)
class Loading:
    """By how many processes, 0 for the one that trains or tests; and what becomes of an image that cannot be decoded:
    it is an error, or ("skip") it is told of, and in training the next takes its place."""

    loaders: int = 0
    bad_images: str = FAIL

    def check(self, name: str, reason: str) -> None:
        """Hear of an image that cannot be decoded, and why.

        Raises:
            DataError: unless such images are skipped.
        """
        if self.bad_images == FAIL:
            raise DataError(f"{name}: cannot be decoded: {reason} (--bad-images skip leaves it out)")


AT_NEED = Loading()  # by the process itself
