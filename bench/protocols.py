"""Testing a net as section 3.4 does: on one crop, on ten, or fully convolutionally on whole images of several sizes.

An image's answer is its classes' scores: softmax of the logits of each view, averaged over the views (never the
logits). They are compared as `torch.topk` orders them, in float32; of equal scores it puts first what it likes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bench import cuts, field, ondevice
from bench.accuracy import PROTOCOLS, TOP, Accuracy
from bench.album import Pages
from bench.loader import Cut, Images
from bench.nets import ResNet

AT_ONCE = 8  # images that a loader hands over together
WAITING = 512 * 2**20  # bytes of images kept on the device until there are enough of a shape
COUNTED = 256  # images whose scores are compared together

Normalise = Callable[[Tensor], Tensor]  # uint8 [B, 3, H, W] to float32, on the device


def standardised(mean: Sequence[float], deviation: Sequence[float]) -> Normalise:
    """(x / 255 - mean) / deviation, channel by channel, as torchvision's weights want it."""
    shift, scale = (torch.tensor(values).view(-1, 1, 1) for values in (mean, deviation))
    return lambda images: (images / 255).sub_(shift.to(images.device)).div_(scale.to(images.device))


def centred(mean: Tensor) -> Normalise:
    """x / 255 - mean, `mean` being float32 [3, crop, crop]; from images of another shape its channels' averages."""
    channels = mean.mean((1, 2), keepdim=True)

    def normalise(images: Tensor) -> Tensor:
        subtracted = mean if images.shape[1:] == mean.shape else channels
        return (images / 255).sub_(subtracted.to(images.device))

    return normalise


def test(
    net: ResNet,
    pages: Pages,
    numbers: Sequence[int],
    protocol: str,
    *,
    crop: int,
    normalise: Normalise,
    device: torch.device | str,
    batch: int,
    loaders: int = 0,
    decoding: str = "cpu",
    told: Callable[[int], None] | None = None,
    bad: Callable[[str, str], None] | None = None,
) -> Accuracy:
    """Classify the images `numbers` of `pages`, in eval mode; afterwards the net's modes are as they were.

    `net` computes in its own type: a net, or the copy in bfloat16 that computes for it (`Working.module`). `protocol`:

    - single: the centre, where the shorter side is 256/224 of `crop`;
    - 10-crop: of that image the four corners, the centre, and the same of its mirror image;
    - multi-scale: whole images, and their mirrors, with shorter sides as `cuts.sides` has them. The final pooling is a
      window of the size that it has at the crop, moved by one; class scores are averaged over its places. Since the
      linear layer commutes with that average, it comes after it.

    `normalise` must take images of the crop's shape and, for multi-scale, of any other (`standardised`, `centred`).
    `batch` is how many crops the net takes at once; whole images are as many fewer as they are larger, but one and its
    mirror at least. `loaders` processes read and decode (0: this one); where `decoding` is "gpu", they read, and
    `device` decodes. `told` hears how many images are done; `bad`, of an image that cannot be read or decoded, its name
    and why: it may raise, otherwise the image is left out.

    Raises:
        FieldError: for a protocol that is none of these.
    """
    field.canonical("protocol", field.choice(*PROTOCOLS), protocol)
    device = torch.device(device)
    whole = protocol == "multi-scale"
    logits = partial(_fully_convolutional, net, -(-crop // net.reduction)) if whole else net
    counts = _Counts(device)
    batches = _Batches(partial(_scores, net, normalise, logits), batch * crop**2, counts)
    images = Images(pages, partial(_CUTS[protocol], crop=crop))
    places = range(0, len(numbers), AT_ONCE)
    items = ([(int(number),) for number in numbers[place : place + AT_ONCE]] for place in places)
    with _evaluating(net), torch.inference_mode():
        for loaded in ondevice.reader(decoding, device)(images, items, loaders=loaders):
            for number, reason in loaded.bad:
                counts.bad += 1
                if bad:
                    bad(pages.name(number), reason)
            for label, pieces in loaded.images():
                batches.add(label, [piece.to(device, non_blocking=True, copy=True) for piece in pieces])
            if told:
                told(counts.images + counts.bad)
        batches.finish()
    if told:
        told(counts.images + counts.bad)
    return counts.accuracy()


_CUTS: dict[str, Cut] = {"single": cuts.single, "10-crop": cuts.ten, "multi-scale": cuts.whole}


def _scores(net: ResNet, normalise: Normalise, logits: Callable[[Tensor], Tensor], pieces: Tensor) -> Tensor:
    """Scores [B, classes] of B images, uint8 [B, V, 3, H, W], averaged over their V views."""
    found = logits(normalise(pieces.flatten(0, 1)).to(net.conv1.weight.dtype))
    return found.to(_precise(found)).softmax(1).unflatten(0, pieces.shape[:2]).mean(1)


def _fully_convolutional(net: ResNet, window: int, images: Tensor) -> Tensor:
    """Logits averaged over the places of the pooling window; images may be larger than the crop."""
    maps = net.features(images)
    pooled = F.avg_pool2d(maps.to(_precise(maps)), window, stride=1).mean((2, 3))
    return net.fc(pooled.to(maps.dtype))


def _precise(x: Tensor) -> torch.dtype:
    """float32, or float64 of a net that computes in it."""
    return torch.promote_types(x.dtype, torch.float32)


class _Counts:
    """Images and wrong answers, summed on the device; adding waits for nothing."""

    def __init__(self, device: torch.device) -> None:
        self.images = self.bad = 0
        self._wrong = torch.zeros(2, dtype=torch.int64, device=device)

    def add(self, scores: list[Tensor], labels: list[int]) -> None:
        """Count images by their scores, each [classes]."""
        rows = torch.stack(scores)
        answers = rows.topk(min(TOP, rows.shape[1])).indices
        right = answers == torch.tensor(labels).to(rows.device, non_blocking=True)[:, None]
        self._wrong += torch.stack([(~right[:, 0]).sum(), (~right.any(1)).sum()])
        self.images += len(labels)

    def accuracy(self) -> Accuracy:
        return Accuracy(self.images, *self._wrong.tolist(), self.bad)


@dataclass(eq=False)
class _Image:
    """An image on its way: how many of its pieces there are, and are not scored yet; the sum of the others' scores."""

    label: int
    pieces: int
    left: int
    scores: Tensor | int = 0


class _Batches:
    """Makes batches of pieces of one shape, and adds up an image's scores.

    A batch has at most `pixels`, or one image. Pieces wait for others of their shape, until those that wait take
    `WAITING` bytes: then there is a batch of those that take most.
    """

    def __init__(self, scores: Callable[[Tensor], Tensor], pixels: int, counts: _Counts) -> None:
        self._scores, self._pixels, self._counts = scores, pixels, counts
        self._waiting: dict[torch.Size, list[tuple[_Image, Tensor]]] = {}
        self._bytes = 0
        self._done: list[_Image] = []

    def add(self, label: int, pieces: list[Tensor]) -> None:
        """Take in an image."""
        image = _Image(label, len(pieces), len(pieces))
        for piece in pieces:
            group = self._waiting.setdefault(piece.shape, [])
            group.append((image, piece))
            self._bytes += piece.nbytes
            if len(group) >= self._most(piece.shape):
                self._classify(piece.shape)
        while self._bytes > WAITING:
            self._classify(max(self._waiting, key=lambda shape: shape.numel() * len(self._waiting[shape])))

    def finish(self) -> None:
        """Classify what waits."""
        for shape in list(self._waiting):
            self._classify(shape)
        self._count()

    def _most(self, shape: torch.Size) -> int:
        views, _, height, width = shape
        return max(1, self._pixels // (views * height * width))

    def _classify(self, shape: torch.Size) -> None:
        """Classify the pieces of a shape, of which there are never more than a batch takes."""
        group = self._waiting.pop(shape)
        self._bytes -= shape.numel() * len(group)
        for (image, _), scores in zip(group, self._scores(torch.stack([piece for _, piece in group])), strict=True):
            image.scores, image.left = image.scores + scores / image.pieces, image.left - 1
            if not image.left:
                self._done.append(image)
        if len(self._done) >= COUNTED:
            self._count()

    def _count(self) -> None:
        if self._done:
            self._counts.add([image.scores for image in self._done], [image.label for image in self._done])
        self._done = []


@contextmanager
def _evaluating(net: nn.Module) -> Iterator[None]:
    """The net in eval mode; afterwards each module as it was."""
    before = [(module, module.training) for module in net.modules()]
    net.eval()
    try:
        yield
    finally:
        for module, training in before:
            module.training = training
