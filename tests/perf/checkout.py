"""A window of a peer's own script, unmodified, from a checkout of it; nothing of the checkout is changed or copied.

    python tests/perf/checkout.py akamaster DIR --images FOLDER --depth 20      # prints images per second, last

FOLDER holds `data/cifar-10-batches-py` (`write_batches`) and is where the script runs. What is changed around it:
CIFAR-10's checksums are not asked for, since the images may be others; without a GPU `.cuda()` does nothing; there is
a terminal of 80 columns; and kuangliu's models are all the paper's net. The script ends after its last timed step.
"""

import argparse
import io
import os
import pickle
import runpy
import sys
from pathlib import Path

import numpy as np
import torch
import torchvision
from peers import BATCH, Dataset, clock
from plain import Net
from torch.optim.optimizer import register_optimizer_step_post_hook

SCRIPTS = {"akamaster": "trainer.py", "kuangliu": "main.py"}


def write_batches(images: Dataset, folder: Path) -> None:
    """The images as torchvision's CIFAR10 reads them."""
    place = folder / "data/cifar-10-batches-py"
    place.mkdir(parents=True)
    parts = np.array_split(images.train_images, 5), np.array_split(images.train_labels, 5)
    batches = {f"data_batch_{n}": part for n, part in enumerate(zip(*parts, strict=True), start=1)}
    for name, (pixels, labels) in {**batches, "test_batch": (images.test_images, images.test_labels)}.items():
        content = {"data": pixels.reshape(len(pixels), -1), "labels": labels.tolist()}
        (place / name).write_bytes(pickle.dumps(content))
    (place / "batches.meta").write_bytes(pickle.dumps({"label_names": list(images.class_names)}))


def stop_after(warm_up: int, steps: int, device: str) -> None:
    """Have the process print images per second, and end, once so many optimiser steps are done."""
    done, start = 0, 0.0

    def count(*_) -> None:
        nonlocal done, start
        done += 1
        if done == warm_up:
            start = clock(device)
        elif done == warm_up + steps:
            print(f"\n{steps * BATCH / (clock(device) - start)}", flush=True)
            sys.exit()

    register_optimizer_step_post_hook(count)


def surround(device: str) -> None:
    """Change what the script finds around it."""
    torchvision.datasets.cifar.check_integrity = lambda path, _=None: Path(path).is_file()
    if device == "cpu":
        torch.Tensor.cuda = torch.nn.Module.cuda = lambda self, *_, **__: self
    popen = os.popen
    os.popen = lambda command, *a: io.StringIO("24 80") if command.startswith("stty") else popen(command, *a)


def main() -> None:
    """Run a script until its window is done."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("peer", choices=SCRIPTS)
    parser.add_argument("checkout", type=Path)
    parser.add_argument("--images", type=Path, required=True)
    parser.add_argument("--depth", type=int, default=20)
    parser.add_argument("--warm-up", type=int, default=3)
    parser.add_argument("--steps", type=int, default=10)
    chosen = parser.parse_args()
    device = "cuda" if torch.cuda.is_available() else "cpu"
    script = (chosen.checkout / SCRIPTS[chosen.peer]).resolve(strict=True)
    os.chdir(chosen.images)
    sys.path.insert(0, str(script.parent))
    sys.dont_write_bytecode = True  # into the checkout
    sys.argv = [str(script)]
    surround(device)
    if chosen.peer == "akamaster":
        sys.argv += ["--arch", f"resnet{chosen.depth}", "--save-dir", "saved"]
    else:
        import models

        for name, value in vars(models).items():
            if isinstance(value, type) or (callable(value) and value.__module__.startswith("models")):
                setattr(models, name, lambda *_, **__: Net(chosen.depth))
    stop_after(chosen.warm_up, chosen.steps, device)
    runpy.run_path(str(script), run_name="__main__")


if __name__ == "__main__":
    main()
