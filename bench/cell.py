"""One cell of the experiment: a net, how it is trained, on what, from which seed; and the id that names it for good.

Nothing here imports torch: planning and reading results stay instant.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from bench import field
from bench.errors import FieldError
from bench.field import ascending, choice, of, real, switch, whole
from bench.source import ALLOWED, Source

MOST_ITERATIONS = 10_000_000
IMAGENET_DEPTHS = (18, 34, 50, 101, 152)
BOTTLENECK_DEPTHS = (50, 101, 152)
SHALLOWEST_CIFAR, DEEPEST_CIFAR = 8, 6002
WARM_UP_LR = 0.01  # section 4.2: ResNet-110 starts at 0.01 ...
WARM_UP_ERROR = 0.80  # ... until the training error is below 80 % ...
WARM_UP_WINDOW = 100  # ... taken over the training batches of this many iterations; the paper does not say


@dataclass(frozen=True)
class Arch:
    """A net (sections 3.3, 4.1 and 4.2).

    `shortcut` is none (a plain net), A (identity, subsampled and zero-padded), B (projection where dimensions change)
    or C (projection everywhere). `width` multiplies every filter count. `stride`, where a bottleneck subsamples: in
    its first 1x1 (original) or in its 3x3 (v1.5).

    Raises:
        FieldError: for a value or a combination that is not allowed; a depth that does not fit the family names the
            nearest that do.
    """

    family: str = of(choice("cifar", "imagenet"), "cifar")
    depth: int = of(whole(1, 100_000), 20)
    shortcut: str = of(choice("none", "A", "B", "C"), "A")
    width: float = of(real(1 / 16, 64), 1.0)
    stride: str = of(choice("original", "v1.5"), "original")

    def __post_init__(self) -> None:
        field.check(self)
        if self.depth not in (near := nearest_depths(self.family, self.depth)):
            rule = "6n+2" if self.family == "cifar" else ", ".join(map(str, IMAGENET_DEPTHS))
            nearest = " and ".join(map(str, near))
            raise FieldError("depth", self.depth, f"{rule} in the {self.family} family; the nearest: {nearest}")
        if self.stride != "original" and not self.bottleneck:
            raise FieldError("stride", self.stride, f"original for a net without bottlenecks ({self.label})")

    def __hash__(self) -> int:
        return hash(self.canonical)

    @cached_property
    def canonical(self) -> str:
        """What identifies it, as canonical JSON."""
        return _json(field.identity(self))

    @property
    def bottleneck(self) -> bool:
        """Whether its blocks are 1x1, 3x3, 1x1 (Fig. 5, right)."""
        return self.family == "imagenet" and self.depth in BOTTLENECK_DEPTHS

    @property
    def label(self) -> str:
        """Its name as the paper writes it: `plain-56`, `ResNet-56-A`."""
        return f"plain-{self.depth}" if self.shortcut == "none" else f"ResNet-{self.depth}-{self.shortcut}"


def nearest_depths(family: str, depth: int) -> tuple[int, ...]:
    """The legal depths of `family` next to `depth`: itself alone when it is legal, else one on each side."""
    if family == "cifar":
        below = min(depth - (depth - 2) % 6, DEEPEST_CIFAR)
        near = (below,) if below == depth else (below, below + 6)
        return tuple(d for d in near if SHALLOWEST_CIFAR <= d <= DEEPEST_CIFAR) or (SHALLOWEST_CIFAR,)
    below, above = [d for d in IMAGENET_DEPTHS if d <= depth][-1:], [d for d in IMAGENET_DEPTHS if d >= depth][:1]
    return tuple(dict.fromkeys(below + above))


@dataclass(frozen=True)
class Recipe:
    """How a net is trained; the defaults are the paper's for CIFAR-10 (section 4.2), lengths in iterations.

    The learning rate is `lr`, times `drop_factor` from each iteration of `drops` on. `warmup = "paper"` holds it at
    0.01 until the error on the training batches of the last 100 iterations is below 80 %. `weight_decay` applies to
    every parameter (`decay_on = "all"`; the paper does not say) or only to convolutions and the final layer's
    weights ("weights"). `init_fan` is He's fan-in (forward) or fan-out (backward) rule. `crop_padding` is in pixels a
    side, 0 for no crop. `precision` is that of convolutions and the final layer; weights and BN stay float32.
    `memory_format` is how images lie in memory (contiguous: channels before pixels; so also, on a CPU, nets of under 8
    channels with projections). `compiled` steps are fused by torch.compile, which needs a C++ compiler. `eval_every` is
    the distance between evaluations. `last_batch` keeps or drops the incomplete batch that ends an epoch. `split`
    trains on the whole training set ("full") or holds a validation part out of it ("holdout": 5,000 images of CIFAR,
    300 of digits, a tenth of others), drawn by `split_seed`.

    `crop_size` above 0 is for images of any size, read while training (section 3.4): views of that many pixels a side,
    cut at random where the shorter side is scaled to a length drawn evenly from `scale` (both ends included), tested on
    the centre where it is 256/224 of the crop. `colour` shifts each view along the principal components of the training
    pixels' own colours, or of those published ("imagenet"). `decoding` on a GPU gives other bits. `train_sample` is how
    many training images an evaluation takes, 0 for all.

    The learning rate drops at `drops`; or, with `plateau` above 0, after so many evaluations in a row none of which had
    an error (`plateau_on`: over the training batches since the evaluation before, or on the validation part or the test
    set) at least `plateau_gain` below the lowest before, a fraction.

    `norm_batch` is over how many images batch normalisation takes its statistics: as many of the batch as one of the
    paper's GPUs had, 0 for the whole batch, however many devices it is spread over. `recompute` computes activations
    again in the backward pass, to save memory; the bits are the same.

    Raises:
        FieldError: for a value or a combination that is not allowed.
    """

    iterations: int = of(whole(1, MOST_ITERATIONS), 64_000)
    batch: int = of(whole(1, 65_536), 128)
    lr: float = of(real(0, 1000), 0.1)
    drops: tuple[int, ...] = of(ascending(1, MOST_ITERATIONS, most=100), (32_000, 48_000))
    drop_factor: float = of(real(0, 1), 0.1)
    warmup: str = of(choice("none", "paper"), "none")
    momentum: float = of(real(0, 1), 0.9)
    weight_decay: float = of(real(0, 1), 1e-4)
    decay_on: str = of(choice("all", "weights"), "all")
    init_fan: str = of(choice("fan_in", "fan_out"), "fan_out")
    crop_padding: int = of(whole(0, 64), 4)
    flip: bool = of(switch(), True)
    precision: str = of(choice("fp32", "tf32", "bf16"), "fp32")
    memory_format: str = of(choice("channels_last", "contiguous"), "channels_last", historical="channels_last")
    compiled: bool = of(switch(), False, historical=False)
    eval_every: int = of(whole(1, MOST_ITERATIONS), 1_000)
    last_batch: str = of(choice("keep", "drop"), "keep")
    split: str = of(choice("full", "holdout"), "full")
    split_seed: int = of(whole(0, 2**32 - 1), 0)
    crop_size: int = of(whole(0, 4096), 0, historical=0)
    scale: tuple[int, ...] = of(ascending(1, 8192, most=2), (), historical=())
    colour: str = of(choice("none", "own", "imagenet"), "none", historical="none")
    decoding: str = of(choice("cpu", "gpu"), "cpu", historical="cpu")
    train_sample: int = of(whole(0, MOST_ITERATIONS), 0, historical=0)
    plateau: int = of(whole(0, 10_000), 0, historical=0)
    plateau_on: str = of(choice("running", "validation", "test"), "running", historical="running")
    plateau_gain: float = of(real(0, 1), 0.001, historical=0.001)
    norm_batch: int = of(whole(0, 65_536), 0, historical=0)
    recompute: bool = of(switch(), False, historical=False)

    def __post_init__(self) -> None:
        field.check(self)
        if self.drops and self.drops[-1] >= self.iterations:
            raise FieldError("drops", list(self.drops), f"iterations below the last, {self.iterations:,}")
        if self.eval_every > self.iterations:
            raise FieldError("eval_every", self.eval_every, f"at most iterations, {self.iterations:,}")
        self._check_views()
        if self.plateau and self.drops:
            raise FieldError("drops", list(self.drops), "[], where plateau is set: the rate drops at plateaus")
        if self.plateau and self.plateau_on == "validation" and self.split == "full":
            raise FieldError("plateau_on", self.plateau_on, 'running or test, where split is "full"')
        if self.recompute and self.compiled:
            raise FieldError("recompute", self.recompute, "false, where compiled is true")
        if self.norm_batch and (self.batch % self.norm_batch or self.last_batch == "keep"):
            raise FieldError(
                "norm_batch", self.norm_batch, f'0, or a divisor of batch, {self.batch:,}, with last_batch "drop"'
            )

    def _check_views(self) -> None:
        if not self.crop_size:
            for name, plain in (("scale", ()), ("colour", "none"), ("decoding", "cpu"), ("train_sample", 0)):
                if (value := getattr(self, name)) != plain:
                    shown = list(value) if isinstance(value, tuple) else value
                    raise FieldError(name, shown, f"{list(plain) if plain == () else plain}, where crop_size is 0")
        elif len(self.scale) != 2 or self.scale[0] < self.crop_size:
            raise FieldError("scale", list(self.scale), f"two lengths, neither below crop_size, {self.crop_size:,}")
        elif self.crop_padding:
            raise FieldError("crop_padding", self.crop_padding, "0, where crop_size is set")

    def __hash__(self) -> int:
        return hash(self.canonical)

    @cached_property
    def canonical(self) -> str:
        """What identifies it, as canonical JSON."""
        return _json(field.identity(self))

    def learning_rate(self, iteration: int, *, warming: bool = False, plateaus: int = 0) -> float:
        """The learning rate of the step that takes the net from `iteration` to `iteration + 1`.

        `warming` is whether the warm-up rule still holds; after it the schedule counts from `lr` as if it had never
        been (back to 0.1, and to 0.01 at 32k). `plateaus` is how many there have been.
        """
        if warming:
            return WARM_UP_LR
        return self.lr * self.drop_factor ** (plateaus + sum(iteration >= drop for drop in self.drops))


@dataclass(frozen=True)
class Cell:
    """One training run, identified by everything that decides its result.

    `data` is a `Source.identity`: a name, never a path.

    Raises:
        FieldError: for a data name or a seed that is not allowed.
    """

    arch: Arch
    recipe: Recipe
    data: str
    seed: int = of(whole(0, 2**32 - 1), 0)

    def __post_init__(self) -> None:
        field.check(self)
        object.__setattr__(self, "data", Source.parse(self.data).identity)

    def __hash__(self) -> int:
        return hash(self.id)

    @cached_property
    def id(self) -> str:
        """16 hexadecimal digits: SHA-256 of every field that identifies the cell, as canonical JSON."""
        arch, recipe = self.arch.canonical, self.recipe.canonical  # of all cells of a net: made once
        text = f'{{"arch":{arch},"data":{_json(self.data)},"recipe":{recipe},"seed":{self.seed}}}'
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    def seeded(self, seed: int) -> Cell:
        """The cell of the same net with another seed.

        Raises:
            FieldError: for a seed that is not allowed.
        """
        other = object.__new__(Cell)  # the rest was checked when this one was made
        allowed = field.canonical("seed", field.kinds(Cell)["seed"], seed)
        vars(other).update(arch=self.arch, recipe=self.recipe, data=self.data, seed=allowed)
        return other

    def flat(self) -> dict[str, Any]:
        """Every field under its own name, one level deep: the columns of a table."""
        return values(self.arch) | values(self.recipe) | {"data": self.data, "seed": self.seed}

    @staticmethod
    def columns() -> tuple[str, ...]:
        """The names of `flat`."""
        return tuple(FIELDS)

    @classmethod
    def from_flat(cls, fields: dict[str, Any]) -> Cell:
        """The cell with these fields, defaults for those absent; names that are no field of a cell are an error.

        None, as tables from before a field existed have it, is what all cells had then.

        Raises:
            FieldError: for an unknown name or a value that is not allowed.
        """
        fields = {name: HISTORICAL.get(name) if value is None else value for name, value in fields.items()}
        if unknown := [name for name in fields if name not in FIELDS]:
            raise FieldError(unknown[0], fields[unknown[0]], ", ".join(FIELDS))
        parts = {t: {k: v for k, v in fields.items() if k in field.kinds(t)} for t in (Arch, Recipe)}
        rest = {k: v for k, v in fields.items() if k in ("data", "seed")}
        return cls(Arch(**parts[Arch]), Recipe(**parts[Recipe]), **rest)

    @property
    def priced(self) -> tuple[Arch, str, int]:
        """What a pass over one image costs depends on: the net, the data, and the views' size where they have one."""
        return self.arch, self.data, self.recipe.crop_size

    @property
    def reads(self) -> tuple[str, bool]:
        """The data, and whether its images are read while training, at any size: of the two each has its checksum."""
        return self.data, self.recipe.crop_size > 0

    @property
    def net(self) -> tuple[Arch, Recipe, str]:
        """All but the seed: cells that have it in common are estimates of one thing."""
        return self.arch, self.recipe, self.data

    @property
    def label(self) -> str:
        """The net and the seed: `plain-56, seed 0`."""
        return f"{self.arch.label}, seed {self.seed}"


def _json(value: Any) -> str:
    return json.dumps(value, sort_keys=True, separators=(",", ":"))


def values(record: Any) -> dict[str, Any]:
    """The declared fields of a record as a dict."""
    return {name: getattr(record, name) for name in field.kinds(type(record))}


DATA = field.Kind(str, ALLOWED, lambda text: Source.parse(text).identity)
FIELDS: dict[str, field.Kind] = {
    **field.kinds(Arch),
    **field.kinds(Recipe),
    "data": DATA,
    "seed": field.kinds(Cell)["seed"],
}
DEFAULTS: dict[str, Any] = values(Arch()) | values(Recipe()) | {"seed": 0}
HISTORICAL: dict[str, Any] = field.historical(Arch) | field.historical(Recipe)
