"""Which kind of work an operation or a GPU kernel is, by the names that torch.profiler gives them. Imports no torch."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

FORWARD = "resbench::forward"  # the scope of the net's forward pass, which whoever profiles must mark

CONVOLUTION = "convolution"
BATCH_NORM = "batch norm"
ACTIVATION = "ReLU, addition, shortcut"
HEAD = "pooling, linear layer, loss"
DATA = "batches and augmentation"
OPTIMISER = "optimiser"
TALLY = "tallies"
CAST = "casts and copies"
OTHER = "other"
KINDS = (CONVOLUTION, BATCH_NORM, ACTIVATION, HEAD, DATA, OPTIMISER, TALLY, CAST, OTHER)


@dataclass(frozen=True)
class Scope:
    """An operation that was under way: its name, and the rank of its first operand (0 where it has none)."""

    name: str
    rank: int = 0


@dataclass(frozen=True)
class Work:
    """A piece of work: the operations it was done in, innermost first, and how long it took itself, in seconds.

    `kernel` is the name of a GPU kernel, None for work of the CPU; of a kernel replayed from a CUDA graph `scopes` may
    be empty. `calls` is 1, or 0 for what another operation did for itself.
    """

    scopes: tuple[Scope, ...]
    seconds: float
    kernel: str | None = None
    calls: int = 1

    @property
    def name(self) -> str:
        """What it is listed under where its kind is not known."""
        return self.kernel or (self.scopes[0].name if self.scopes else "unnamed")


@dataclass(frozen=True)
class Share:
    """What one kind of work took, in seconds, in how many calls or kernels."""

    seconds: float
    calls: int


def shares(works: Iterable[Work]) -> dict[str, Share]:
    """What each kind of work took, in the order of `KINDS`, those that took nothing left out."""
    found = {kind: Share(0.0, 0) for kind in KINDS}
    for work in works:
        kind = kind_of(work)
        found[kind] = Share(found[kind].seconds + work.seconds, found[kind].calls + work.calls)
    return {kind: share for kind, share in found.items() if share != Share(0.0, 0)}


def unknown(works: Iterable[Work]) -> dict[str, float]:
    """Names of the work that is of no known kind, and its seconds, most first."""
    found: dict[str, float] = {}
    for work in works:
        if kind_of(work) == OTHER:
            found[work.name] = found.get(work.name, 0.0) + work.seconds
    return dict(sorted(found.items(), key=lambda item: -item[1]))


def kind_of(work: Work) -> str:
    """The kind: by the operations it was done in, else by the kernel's name."""
    return _by_scopes(work.scopes) or (_by_kernel(work.kernel) if work.kernel else None) or OTHER


def _patterns(*pairs: tuple[str, str]) -> tuple[tuple[str, re.Pattern[str]], ...]:
    return tuple((kind, re.compile(pattern, re.IGNORECASE)) for kind, pattern in pairs)


_UPDATE = re.compile(r"Optimizer\.|_fused_sgd|_foreach_(?!copy)")
_AUTOCAST = re.compile(r"aten::(conv2d|linear|batch_norm)$")  # what autocast casts the operands of
_ANYWHERE = _patterns(  # the operations of the net and of the loss, and of their backward passes
    (CONVOLUTION, r"conv(olution|2d)"),
    (BATCH_NORM, r"batch_?norm"),
    (ACTIVATION, r"relu|threshold|ZeroPadded|AddBackward|(slice|pad|PadNd)_?backward"),
    (HEAD, r"pool|mean|::linear$|mm$|(AddMm|Mm|View|Reshape|T|AsStrided|Expand|Flatten|Squeeze)Backward"),
    (HEAD, r"cross_entropy|log_?softmax|nll_?loss|ones_like|flatten"),
    (CAST, r"ToCopyBackward|copybackward|_foreach_copy"),
    (OPTIMISER, r"AccumulateGrad|zero_grad"),
)
_IN_FORWARD = _patterns((ACTIVATION, r"::(slice|pad|constant_pad_nd)$"))
_OUTSIDE = _patterns(  # between the passes
    (TALLY, r"::(argmax|ne|eq|sum|detach)$"),
    (DATA, r"::(slice|index\w*|div|sub_?|pad|unfold|flip|where|arange|unsqueeze|permute|gather|lt|select|narrow)$"),
    (DATA, r"::(constant_pad_nd|rand\w*|sort|resize_|expand|unbind)$"),
    (CAST, r"::(copy_|clone|contiguous)$"),
)
_SCALAR = re.compile(r"::(add_?|mul_?|to|_to_copy|zeros?_?|fill_|copy_)$")  # of scalars: the net's are maps


def _by_scopes(scopes: Sequence[Scope]) -> str | None:
    """The kind of the innermost operation that tells, the optimiser's before all."""
    if any(_UPDATE.search(scope.name) for scope in scopes):
        return OPTIMISER
    in_forward = any(scope.name == FORWARD for scope in scopes)
    in_pass = in_forward or any(scope.name.startswith("autograd::engine") for scope in scopes)
    for position, scope in enumerate(scopes):
        outer = scopes[position + 1 :]
        if scope.name == "aten::to" and scope.rank and (not outer or _AUTOCAST.search(outer[0].name)):
            return CAST
        if re.search(r"::add_?$", scope.name) and (scope.rank > 1 or in_pass):
            return ACTIVATION if scope.rank > 1 else BATCH_NORM  # which counts its batches
        if not (in_pass or outer or scope.rank) and _SCALAR.search(scope.name):
            return TALLY
        rules = _ANYWHERE + (_IN_FORWARD if in_forward else () if in_pass else _OUTSIDE if not outer else ())
        if kind := _first(rules, scope.name):
            return kind
    return None


_KERNELS = _patterns(
    (OPTIMISER, r"multi_tensor|fused_?sgd"),
    (BATCH_NORM, r"batch_?norm|\bbn_|_bn_"),
    (HEAD, r"softmax|nll_?loss|pool|MeanOps"),
    (CAST, r"nchwToNhwc|nhwcToNchw|convertTensor|tensorTransform"),
    (CONVOLUTION, r"conv|fprop|dgrad|wgrad|winograd|implicit_gemm|cudnn|fft2d|im2col|col2im"),
    (HEAD, r"gemm|gemv|splitK|cublas|cutlass|nvjet"),
    (TALLY, r"arg_?max|compare|(add|sum|mul)\w*<(double|long|bool)"),
    (ACTIVATION, r"relu|threshold|clamp|Functor_?add|AddFunctor|add_kernel|constant_?pad"),
    (DATA, r"index|gather|flip|where|unsigned char|philox|distribution|random|radix|cub::|arange|sub|div|MulFunctor"),
    (CAST, r"copy|memcpy|memset|cast|fill"),
)


def _by_kernel(name: str) -> str | None:
    return _first(_KERNELS, name)


def _first(patterns: Iterable[tuple[str, re.Pattern[str]]], name: str) -> str | None:
    return next((kind for kind, pattern in patterns if pattern.search(name)), None)
