"""What the commands of `resbench data` do. Imports what it needs when it runs, so that help starts at once."""

from __future__ import annotations

from argparse import Namespace
from typing import TYPE_CHECKING

from bench.errors import EXIT_OK, EXIT_UNSOUND, DataError
from bench.source import FROM_DIRECTORY, Source

if TYPE_CHECKING:
    from bench.album import Album

PEEKED = 64  # images whose size is looked at before all are decoded


def data(options: Namespace) -> int:
    """Download, verify and describe a data set."""
    from bench import album, builtin, dataset
    from bench.decode import UnlikeSizesError

    source = Source.parse(options.source)
    if source.kind in builtin.DOWNLOADED:
        builtin.download(source)
    found = _of_unlike_sizes(source)
    if found:
        return _tell(found)
    try:
        images = dataset.load(source)
    except UnlikeSizesError:
        return _tell(album.load(source))
    channels, size, classes = images.shape
    print(f"{source.identity}: {channels} x {size} x {size} pixels, {classes} classes")
    print(f"training images: {len(images.train_labels):,}, of which a holdout takes {images.holdout:,} for validation")
    print(f"test images: {len(images.test_labels):,}")
    print(f"sha256: {images.sha256}")
    return EXIT_OK


def _of_unlike_sizes(source: Source) -> Album | None:
    """The album, where a few of its images tell that they have unlike sizes: to list a million files is quick, to
    begin decoding them isn't. Of parquet it would be a copy, so there all images are asked."""
    from bench import album

    if source.kind not in FROM_DIRECTORY or source.kind == "parquet":
        return None
    try:
        found = album.load(source)
    except DataError:
        return None  # what is wrong is told by whoever decodes all
    return found if _differ(found) else None


def _differ(found: Album) -> bool:
    import io

    import numpy as np
    from PIL import Image

    sizes = set()
    for number in np.linspace(0, len(found.train) - 1, PEEKED).astype(int):
        try:
            with Image.open(io.BytesIO(found.train.read(int(number)))) as image:
                sizes.add(image.size)
        except Exception:  # of PIL's, or too large for it; what is wrong is told by whoever decodes all
            return False
    return len(sizes) > 1 or any(width != height for width, height in sizes)


def _tell(found: Album) -> int:
    print(f"{found.source}: images of unlike sizes, {found.classes:,} classes; a recipe with crop_size trains on it")
    print(f"training images: {len(found.train):,}, of which a holdout takes {found.holdout:,} for validation")
    print(f"test images: {len(found.test):,}")
    print(f"sha256: {found.sha256}")
    return EXIT_OK


def make_folder(options: Namespace) -> int:
    """Make a folder of JPEGs of many sizes from a data set's images."""
    from bench import makefolder, terminal
    from bench.headway import pacing

    source = Source.parse(options.origin)
    least, most = options.size
    wanted = makefolder.Options(
        source.identity, options.classes, least, most, options.train, options.test, options.seed, options.quality
    )
    with pacing(terminal.console()) as told:
        made = makefolder.make(options.out, source, wanted, told)
    print(f"{options.out}: {'made' if made else 'already made with these options'}")
    return EXIT_OK


def imagenet_check(options: Namespace) -> int:
    """Check that a folder holds ImageNet."""
    from bench import host, imagenet, terminal
    from bench.headway import pacing

    expected = imagenet.Expected(options.classes, options.train, options.val)
    workers = options.workers or host.cores()
    with pacing(terminal.console()) as told:
        report = imagenet.check(options.root, told, expected, workers)
    print(
        f"{options.root}: {report.classes:,} classes, {report.train:,} training and {report.test:,} validation images"
    )
    for fault in report.faults:
        terminal.say(fault)
    for where, why in report.bad:
        terminal.say(f"{where}: cannot be decoded: {why}")
    if more := report.bad_count - len(report.bad):
        print(f"and {more:,} more that cannot be decoded")
    images = report.train + report.test
    verdict = "all is as it should be" if report.sound else "not all is as it should be"
    print(f"{images - report.bad_count:,} of {images:,} images can be decoded; {verdict}")
    return EXIT_OK if report.sound else EXIT_UNSOUND
