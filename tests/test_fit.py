"""The search for the largest batch, on made-up memories; and one on a real net, under a real limit."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from bench import fit, pool
from bench.cell import Arch, Recipe, values
from bench.errors import DeviceError, FieldError
from bench.fit import Fit, Footprint, largest_batch, search
from bench.host import Gpu
from bench.task import Died, Returned, Task

MIB = 2**20


def taking(size):
    return Footprint(None, None, size, None, None)


def quiet(_):
    pass


def memory(limit, base, slope, wobble=0):
    """A net that needs `base` and `slope` an image, and reports that with a wobble."""

    def attempt(batch):
        need = base + slope * batch
        return taking(need + hash((batch, base)) % (wobble + 1)) if need <= limit else "out of memory"

    return attempt


@given(
    base=st.integers(0, 600 * MIB),
    slope=st.integers(1_000, 300 * MIB),
    room=st.integers(0, 20_000 * MIB),
    wobble=st.sampled_from([0, MIB, 40 * MIB]),
    known=st.booleans(),
)
def test_the_answer_is_exact_and_takes_few_tries(base, slope, room, wobble, known):
    limit = base + room
    answer = min(room // slope, fit.LARGEST)
    attempt = memory(limit, base, slope, wobble)
    if answer == 0:
        with pytest.raises(DeviceError, match=r"no batch fits .* a batch of 1 failed: out of memory"):
            search(attempt, limit if known else None, quiet, "net")
        return
    found = search(attempt, limit if known else None, quiet, "net")
    assert found.batch == answer and found.note is None
    assert (found.failed, found.failure) == ((None, None) if answer == fit.LARGEST else (answer + 1, "out of memory"))
    assert found.tries <= 36


@pytest.mark.parametrize(
    ("base", "slope", "limit"), [(400, 2, 1024), (500, 8, 8192), (700, 1, 20_000), (400, 3, 60_000)]
)
def test_along_a_straight_line_it_takes_very_few(base, slope, limit):
    found = search(memory(limit, base, slope), limit, quiet, "net")
    assert found.batch == (limit - base) // slope and found.tries <= 11


@given(st.sets(st.integers(2, 300)), st.booleans())
def test_where_larger_is_not_always_more_it_ends_at_an_edge(holes, known):
    def attempt(batch):
        return "no" if batch in holes or batch > 200 else taking(batch)

    found = search(attempt, 200 if known else None, quiet, "net", most=250)
    assert not isinstance(attempt(found.batch), str) and isinstance(attempt(found.batch + 1), str)


def test_everything_fits():
    found = search(lambda batch: taking(batch), 10**12, quiet, "net")
    assert (found.batch, found.failed, found.failure, found.note) == (fit.LARGEST, None, None, None)


def test_nothing_fits():
    with pytest.raises(
        DeviceError, match=r"ResNet-8-A at 32 x 32: no batch fits into 1\.00 GiB; a batch of 1 failed: no"
    ):
        search(lambda _: "no", 2**30, quiet, "ResNet-8-A at 32 x 32")


class Fickle:
    """Batches up to 100 fit, but for what `then` says of a batch from its second try on."""

    def __init__(self, then):
        self.then, self.seen = then, set()

    def __call__(self, batch):
        fits = self.then.get(batch, batch <= 100) if batch in self.seen else batch <= 100
        self.seen.add(batch)
        return taking(batch) if fits else "no"


def test_a_batch_that_does_not_fit_again_is_stepped_down_from():
    found = search(Fickle({100: False, 99: False}), 100, quiet, "net")
    assert found.batch == 97 and found.note == "a batch of 100 fitted, and then failed"
    assert found.failed == 99
    with pytest.raises(DeviceError, match="no batch fits twice"):
        search(Fickle(dict.fromkeys(range(101), False)), 100, quiet, "net")


def test_one_that_fits_at_last_is_told_of():
    found = search(Fickle({101: True}), 100, quiet, "net")
    assert found.batch == 100 and found.note == "a batch of 101 failed, and then fitted"


def test_each_try_is_told():
    told = []
    search(memory(3 * 2**30, 2**30, 2**27), None, told.append, "net")
    assert told[0] == "batch 16: 3.00 GiB" and "batch 17: does not fit" in told


@pytest.mark.parametrize("options", [{"size": 0}, {"classes": 0}, {"channels": 0}, {"memory": 0}, {"threads": 0}])
def test_numbers_out_of_range(options, tmp_path):
    (name,) = options
    with pytest.raises(FieldError, match=f"{name} = 0 is not allowed"):
        largest_batch(Arch(depth=8), Recipe(), device="cpu", told=quiet, log=tmp_path / "log", **options)


def test_an_error_that_is_not_memorys_ends_it(tmp_path):
    with pytest.raises(DeviceError, match=r'ResNet-8-A, batch 16: precision = "tf32" needs a CUDA device'):
        recipe = Recipe(precision="tf32")
        largest_batch(Arch(depth=8), recipe, device="cpu", memory=2**33, told=quiet, log=tmp_path / "log")


def test_without_a_limit_what_is_available_less_a_tenth(monkeypatch, tmp_path):
    limits = []

    def outcome(task, _):
        limits.append(task.payload["limit"])
        return Died("fit", "out-of-memory", "of the test", "")

    monkeypatch.setattr(pool, "outcome", outcome)
    monkeypatch.setattr(fit.host, "available_memory", lambda: 10 * 2**30)
    with pytest.raises(DeviceError, match=r"ResNet-8-A at 32 x 32: no batch fits into 9\.00 GiB"):
        largest_batch(Arch(depth=8), Recipe(), device="cpu", told=quiet, log=tmp_path / "log")
    assert set(limits) == {9 * 2**30}
    monkeypatch.setattr(fit.host, "available_memory", lambda: None)
    with pytest.raises(DeviceError, match="--memory"):
        largest_batch(Arch(depth=8), Recipe(), device="cpu", told=quiet, log=tmp_path / "log")


def test_a_crash_under_a_limit_is_a_batch_that_does_not_fit(monkeypatch, tmp_path):
    def outcome(task, _):
        if task.payload["batch"] > 20:
            return Died("fit", "error", "killed by SIGSEGV", "")
        return Returned("fit", vars(taking(2**20 * task.payload["batch"])))

    monkeypatch.setattr(pool, "outcome", outcome)
    options = {"memory": 2**30, "told": quiet, "log": tmp_path / "log"}
    found = largest_batch(Arch(depth=8), Recipe(), device="cpu", **options)
    assert (found.batch, found.failure) == (20, "killed by SIGSEGV, with its memory limited")
    gpu = Gpu("GPU-a", "NVIDIA H200", 141 * 2**30, 700.0, "580")
    monkeypatch.setattr(fit, "choose_gpus", lambda _: [gpu])
    with pytest.raises(DeviceError, match="batch 32: killed by SIGSEGV"):
        largest_batch(Arch(depth=8), Recipe(), device="cuda", **options)


def test_a_real_net_under_a_real_limit(tmp_path):
    job = {
        **{"arch": values(Arch(depth=8)), "recipe": values(Recipe()), "batch": 16, "channels": 3, "size": 16},
        **{"classes": 10, "inference": False, "device": "cpu", "uuid": None, "threads": 1, "limit": None},
    }
    alone = pool.outcome(Task("fit", fit.ENTRY, job, tmp_path / "log"), quiet).value["resident"]
    limit = alone + 48 * MIB
    options = {"size": 16, "device": "cpu", "memory": limit, "told": quiet, "log": tmp_path / "log"}
    trained = largest_batch(Arch(depth=8), Recipe(), **options)
    assert isinstance(trained, Fit) and trained.batch > 16 and trained.limit == limit
    assert trained.footprint.resident <= limit and trained.footprint.allocated is None
    assert "memory" in trained.failure
    inferred = largest_batch(Arch(depth=8), Recipe(), inference=True, **options)
    # nothing is kept for a backward pass; by how much depends on what the machine's allocator leaves in pieces
    assert inferred.batch > trained.batch


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_on_a_gpu_under_a_limit(tmp_path):
    found = largest_batch(Arch(depth=8), Recipe(), device="cuda", memory=2**30, told=quiet, log=tmp_path / "log")
    peak = found.footprint
    assert 0 < peak.allocated <= peak.reserved <= 2**30 < peak.device
    assert found.failed == found.batch + 1 or found.note
