"""Cells one after another in a plain PyTorch loop, as people write it: the baseline of the default study.

The paper's net and a DataLoader over tensors in memory, the default layout, SGD as torch makes it by default, the loss
read at each step, all threads. A program of its own: it reads cells on standard input, a JSON object of their fields
a line, trains them, and prints for each its curve: [iteration, train, validation and test error] an evaluation.
"""

import itertools
import json
import sys
from collections.abc import Iterator

import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from bench import dataset
from bench.cell import Cell
from bench.dataset import Dataset
from bench.source import Source
from bench.split import split

EVALUATION_BATCH = 500  # the fastest of those tried for ours, and so no disadvantage


class Lambda(nn.Module):
    """A function as a module."""

    def __init__(self, function):
        super().__init__()
        self.function = function

    def forward(self, x):
        return self.function(x)


class Block(nn.Module):
    """Two 3x3 convolutions and a shortcut: none, A, B or C; A's zeros lie half before, half after the old channels."""

    def __init__(self, inputs, filters, stride, option):
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, filters, 3, stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(filters)
        self.conv2 = nn.Conv2d(filters, filters, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(filters)
        self.option, half = option, (filters - inputs) // 2
        if option == "C" or (option == "B" and (stride != 1 or inputs != filters)):
            projection = nn.Conv2d(inputs, filters, 1, stride, bias=False)
            self.shortcut = nn.Sequential(projection, nn.BatchNorm2d(filters))
        elif option == "A" and (stride != 1 or inputs != filters):
            self.shortcut = Lambda(lambda x: F.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, half, half), "constant", 0))
        else:
            self.shortcut = nn.Sequential()

    def forward(self, x):
        out = F.relu(self.bn1(self.conv1(x)))
        out = self.bn2(self.conv2(out))
        if self.option != "none":
            out += self.shortcut(x)
        return F.relu(out)


class Net(nn.Module):
    """The paper's 6n+2-layer net for small images, He-initialised."""

    def __init__(self, depth=20, option="A", channels=3, classes=10):
        super().__init__()
        self.conv1 = nn.Conv2d(channels, 16, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(16)
        stages, inputs = [], 16
        for filters in (16, 32, 64):
            strides = [1 if filters == 16 else 2] + [1] * ((depth - 2) // 6 - 1)
            widths = [inputs] + [filters] * (len(strides) - 1)
            blocks = [Block(width, filters, stride, option) for width, stride in zip(widths, strides, strict=True)]
            stages.append(nn.Sequential(*blocks))
            inputs = filters
        self.layer1, self.layer2, self.layer3 = stages
        self.linear = nn.Linear(64, classes)
        for module in self.modules():
            if isinstance(module, nn.Conv2d | nn.Linear):
                nn.init.kaiming_normal_(module.weight)

    def forward(self, x):
        out = F.relu(self.bn1(self.conv1(x)))
        out = self.layer3(self.layer2(self.layer1(out)))
        out = F.avg_pool2d(out, out.shape[3])
        return self.linear(out.flatten(1))


class Cropped(torch.utils.data.Dataset):
    """Images in memory, each padded with zeros and cropped where chance says."""

    def __init__(self, images, labels, padding):
        self.images, self.labels, self.padding = images, labels, padding

    def __len__(self):
        return len(self.labels)

    def __getitem__(self, index):
        image, (height, width) = self.images[index], self.images.shape[2:]
        if self.padding:
            dy, dx = torch.randint(2 * self.padding + 1, (2,)).tolist()
            image = F.pad(image, (self.padding,) * 4)[:, dy : dy + height, dx : dx + width]
        return image, self.labels[index]


def parts_of(images: Dataset, recipe) -> dict[str, TensorDataset]:
    """The training part, less its per-pixel mean, and the validation and test parts, less the same."""
    chosen = split(images.train_labels, recipe, images.holdout)
    x, y = torch.tensor(images.train_images) / 255, torch.tensor(images.train_labels)
    mean = x[chosen.train].mean(0)
    test = torch.tensor(images.test_images) / 255, torch.tensor(images.test_labels)
    held = {"train": (x[chosen.train], y[chosen.train]), "validation": (x[chosen.validation], y[chosen.validation])}
    return {name: TensorDataset(x - mean, y) for name, (x, y) in {**held, "test": test}.items()}


def steps(net, batches, recipe) -> Iterator[float]:
    """The loss of each step, forever, over and over `batches`; weight decay on everything, no warm-up, no flip."""
    options = {"momentum": recipe.momentum, "weight_decay": recipe.weight_decay}
    optimizer = torch.optim.SGD(net.parameters(), lr=recipe.lr, **options)
    scheduler = torch.optim.lr_scheduler.MultiStepLR(optimizer, list(recipe.drops), recipe.drop_factor)
    while True:
        for images, labels in batches:
            net.train()
            optimizer.zero_grad()
            loss = F.cross_entropy(net(images), labels)
            loss.backward()
            optimizer.step()
            scheduler.step()
            yield loss.item()


@torch.no_grad()
def error(net, part) -> float:
    """The fraction of a part's images that the net classifies wrongly."""
    net.eval()
    batches = DataLoader(part, EVALUATION_BATCH)
    return sum((net(images).argmax(1) != labels).sum().item() for images, labels in batches) / len(part)


def curve(cell: Cell, images: Dataset) -> list[list[float]]:
    """Train a cell, and evaluate it where `bench.train` does."""
    recipe, parts = cell.recipe, parts_of(images, cell.recipe)
    torch.manual_seed(cell.seed)
    net = Net(cell.arch.depth, cell.arch.shortcut, images.channels, images.classes)
    cropped = Cropped(*parts["train"].tensors, recipe.crop_padding)
    points = []
    training = steps(net, DataLoader(cropped, recipe.batch, shuffle=True), recipe)
    for iteration, _ in enumerate(itertools.islice(training, recipe.iterations), start=1):
        if iteration % recipe.eval_every == 0 or iteration == recipe.iterations:
            points.append([iteration, *(error(net, part) for part in parts.values() if len(part))])
    return points


def main() -> None:
    """Train the cells on standard input, one after another."""
    for line in sys.stdin:
        cell = Cell.from_flat(json.loads(line))
        print(json.dumps(curve(cell, dataset.load(Source.parse(cell.data)))), flush=True)


if __name__ == "__main__":
    main()
