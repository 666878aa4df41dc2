"""What a test of a net finds: images classified, and wrongly (section 3.4)."""

from __future__ import annotations

from dataclasses import dataclass

PROTOCOLS = {  # and the metrics of their top-1 and top-5 errors
    "single": ("test_error", "top5_error"),
    "10-crop": ("top1_error_10crop", "top5_error_10crop"),
    "multi-scale": ("top1_error_multiscale", "top5_error_multiscale"),
}
TOP = 5  # answers that an image's class has to be among; all of them where there are fewer classes


@dataclass(frozen=True)
class Accuracy:
    """Of `images` tested, `wrong1` whose class did not have the highest score, and `wrong5` whose class was not among
    the five highest. `bad` is how many could not be decoded and were left out; they count in none of the others.

    Shares of one test, as several devices have them, are added.
    """

    images: int = 0
    wrong1: int = 0
    wrong5: int = 0
    bad: int = 0

    def __add__(self, other: Accuracy) -> Accuracy:
        return Accuracy(
            self.images + other.images, self.wrong1 + other.wrong1, self.wrong5 + other.wrong5, self.bad + other.bad
        )

    @property
    def top1_error(self) -> float | None:
        """The fraction classified wrongly; None where nothing was tested."""
        return self.wrong1 / self.images if self.images else None

    @property
    def top5_error(self) -> float | None:
        """The fraction whose class was not among the first five; likewise."""
        return self.wrong5 / self.images if self.images else None
