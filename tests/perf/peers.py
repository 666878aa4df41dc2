"""How fast ours and its peers train the paper's net on CIFAR's shapes: one window of steps, in a process of its own.

The peers' step loops re-expressed: their structure, their loaders and what they read back at each step, not their code.
What they print is left out. Two peers: akamaster/pytorch_resnet_cifar10 (trainer.py), and
kuangliu/pytorch-cifar (main.py), here with the paper's net, for its own nets are others.

    python tests/perf/peers.py akamaster --steps 10      # prints images per second
"""

import argparse
import itertools
import time
from collections import deque
from collections.abc import Callable, Iterator

import numpy as np
import torch
from PIL import Image
from plain import Net
from torch import nn
from torch.utils.data import DataLoader
from torchvision import transforms

from bench import dataset
from bench.cell import MOST_ITERATIONS, Arch, Cell, Recipe
from bench.dataset import Dataset
from bench.source import Source
from bench.train import Training

BATCH = 128
RANDOM_IMAGES = 50_000
Advance = Callable[[int], object]  # takes so many steps


def images_of(name: str) -> Dataset:
    """The images of a source, or random ones of CIFAR's number and shape: what a loader does is the same for both.

    Raises:
        DataError: when they are not there.
        FieldError: when they are no 32 x 32 RGB images.
    """
    if name != "random":
        images = dataset.load(Source.parse(name))
        if images.shape[:2] != (3, 32):
            raise dataset.DataError(f"{name}: the peers take 32 x 32 RGB images, and these are of {images.shape[:2]}")
        return images
    draw = np.random.default_rng(0).integers
    pixels, labels = draw(256, size=(RANDOM_IMAGES, 3, 32, 32), dtype=np.uint8), draw(10, size=RANDOM_IMAGES)
    few = slice(10_000)
    return Dataset("cifar10", pixels, labels, pixels[few], labels[few], tuple("0123456789"), sha256="random")


class Pictures(torch.utils.data.Dataset):
    """Images as torchvision's CIFAR10 gives them: an array [N, H, W, C], of which each item becomes a PIL image."""

    def __init__(self, images: Dataset, *transform):
        self.pixels = images.train_images.transpose(0, 2, 3, 1).copy(order="C")
        self.labels = images.train_labels.tolist()
        self.transform = transforms.Compose(transform)

    def __len__(self):
        return len(self.labels)

    def __getitem__(self, index):
        return self.transform(Image.fromarray(self.pixels[index])), self.labels[index]


class Meter:
    """The latest value and the mean of all."""

    def __init__(self):
        self.latest = self.mean = self.sum = self.count = 0

    def update(self, value, n=1):
        self.latest, self.sum, self.count = value, self.sum + value * n, self.count + n
        self.mean = self.sum / self.count


def precision_at_1(logits, labels):
    """In percent, by way of topk, as the peer counts it."""
    right = logits.topk(1, 1, True, True)[1].t().eq(labels.view(1, -1))
    return right[:1].reshape(-1).float().sum(0).mul_(100 / len(labels))


def akamaster_steps(net, loader, device) -> Iterator[float]:
    """The loss of each step, forever: copies a batch, and waits for loss and accuracy, at each step."""
    criterion = nn.CrossEntropyLoss().to(device)
    optimizer = torch.optim.SGD(net.parameters(), 0.1, momentum=0.9, weight_decay=1e-4)
    scheduler = torch.optim.lr_scheduler.MultiStepLR(optimizer, milestones=[100, 150])
    while True:
        batch_time, data_time, losses, top1 = (Meter() for _ in range(4))
        net.train()
        end = time.time()
        for images, labels in loader:
            data_time.update(time.time() - end)
            labels = labels.to(device)
            logits = net(images.to(device))
            loss = criterion(logits, labels)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.update(loss.float().item(), len(images))
            top1.update(precision_at_1(logits.float().detach(), labels).item(), len(images))
            batch_time.update(time.time() - end)
            end = time.time()
            yield losses.latest
        scheduler.step()


def kuangliu_steps(net, loader, device) -> Iterator[float]:
    """Likewise; the accuracy is counted in another way."""
    criterion = nn.CrossEntropyLoss()
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1, momentum=0.9, weight_decay=5e-4)
    scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=200)
    while True:
        net.train()
        total_loss = right = seen = 0
        for images, labels in loader:
            images, labels = images.to(device), labels.to(device)
            optimizer.zero_grad()
            logits = net(images)
            loss = criterion(logits, labels)
            loss.backward()
            optimizer.step()
            latest = loss.item()
            total_loss += latest
            seen += len(labels)
            right += logits.max(1)[1].eq(labels).sum().item()
            yield latest
        scheduler.step()


def _peer(steps, net, loader, device) -> Advance:
    net = net.to(device)
    if device == "cuda":
        net = nn.DataParallel(net)
        torch.backends.cudnn.benchmark = True
    losses = steps(net, loader, device)
    return lambda count: deque(itertools.islice(losses, count), maxlen=0)


def akamaster(images: Dataset, depth: int, device: str) -> Advance:
    """Its trainer: 4 workers, pinned memory."""
    normalise = transforms.Normalize([0.485, 0.456, 0.406], [0.229, 0.224, 0.225])
    augment = transforms.RandomHorizontalFlip(), transforms.RandomCrop(32, 4)
    pictures = Pictures(images, *augment, transforms.ToTensor(), normalise)
    loader = DataLoader(pictures, BATCH, shuffle=True, num_workers=4, pin_memory=True)
    return _peer(akamaster_steps, Net(depth, classes=images.classes), loader, device)


def kuangliu(images: Dataset, depth: int, device: str) -> Advance:
    """Its loop: 2 workers, pageable memory."""
    normalise = transforms.Normalize((0.4914, 0.4822, 0.4465), (0.2023, 0.1994, 0.2010))
    augment = transforms.RandomCrop(32, padding=4), transforms.RandomHorizontalFlip()
    pictures = Pictures(images, *augment, transforms.ToTensor(), normalise)
    loader = DataLoader(pictures, BATCH, shuffle=True, num_workers=2)
    return _peer(kuangliu_steps, Net(depth, classes=images.classes), loader, device)


def ours(images: Dataset, depth: int, device: str, precision: str = "fp32") -> Advance:
    """`bench.train.Training` by the paper's recipe."""
    recipe = Recipe(iterations=MOST_ITERATIONS, eval_every=MOST_ITERATIONS, batch=BATCH, precision=precision)
    training = Training(Cell(Arch(depth=depth), recipe, images.source), images, device)
    return lambda count: training.advance(training.iteration + count)


def clock(device: str) -> float:
    """Seconds, once the device has done what it was given."""
    if device == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter()


def main() -> None:
    """Time one window."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("trainer", choices=["ours", "akamaster", "kuangliu"])
    parser.add_argument("--precision", default="fp32", help="of ours")
    parser.add_argument("--data", default="random")
    parser.add_argument("--depth", type=int, default=20)
    parser.add_argument("--warm-up", type=int, default=3, help="steps that are not timed")
    parser.add_argument("--steps", type=int, default=10, help="steps that are")
    chosen = parser.parse_args()
    device = "cuda" if torch.cuda.is_available() else "cpu"
    options = {"precision": chosen.precision} if chosen.trainer == "ours" else {}
    advance = globals()[chosen.trainer](images_of(chosen.data), chosen.depth, device, **options)
    advance(chosen.warm_up)
    start = clock(device)
    advance(chosen.steps)
    print(chosen.steps * BATCH / (clock(device) - start))


if __name__ == "__main__":
    main()
