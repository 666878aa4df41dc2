"""Weights from files, held to torchvision's own nets."""

import pytest
import torch
import torchvision

from bench import weights
from bench.cell import Arch
from bench.errors import InputError
from bench.nets import build

DEPTHS = (18, 34, 50, 101, 152)


def arch(depth, stride="v1.5"):
    return Arch("imagenet", depth, "B", stride=stride if depth >= 50 else "original")


def theirs(depth, classes=10):
    """torchvision's net with every weight and statistic at random, of a size that keeps activations near one."""
    torch.manual_seed(depth)
    net = getattr(torchvision.models, f"resnet{depth}")(weights=None, num_classes=classes)
    for module in net.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            torch.nn.init.uniform_(module.weight, 0.5, 1.0)
            torch.nn.init.normal_(module.bias, std=0.2)
            torch.nn.init.normal_(module.running_mean, std=0.3)
            torch.nn.init.uniform_(module.running_var, 0.5, 2.0)
    return net


@pytest.fixture
def saved(tmp_path):
    def save(content):
        torch.save(content, tmp_path / "net.pth")
        return tmp_path / "net.pth"

    return save


def same(net, reference, side=64):
    images = torch.randn(2, 3, side, side + 33, dtype=torch.float64)
    with torch.no_grad():
        ours, logits = net.double().eval()(images), reference.double().eval()(images)
    assert logits.std() > 0.01
    torch.testing.assert_close(ours, logits, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("depth", [18, 34, 50])
def test_logits_are_torchvisions(depth, saved):
    reference = theirs(depth)
    same(weights.load(saved(reference.state_dict()), arch(depth)), reference)


@pytest.mark.parametrize("depth", DEPTHS)
def test_every_weight_has_its_place(depth):
    """The deepest are made of the same blocks, more often: names and shapes tell where each goes."""
    with torch.device("meta"):
        reference = getattr(torchvision.models, f"resnet{depth}")(num_classes=10)
    mine, other = build(arch(depth), device="meta").state_dict(), reference.state_dict()
    assert {name: value.shape for name, value in mine.items()} == {name: value.shape for name, value in other.items()}


def test_of_the_original_stride_too(saved):
    reference, depth = theirs(50), 50
    for stage in (reference.layer2, reference.layer3, reference.layer4):
        stage[0].conv1.stride, stage[0].conv2.stride = (2, 2), (1, 1)
    path = saved(reference.state_dict())
    same(weights.load(path, arch(depth, "original")), reference)
    with pytest.raises(AssertionError):  # the same weights, and another net
        same(weights.load(path, arch(depth)), reference)


def test_a_kept_net_comes_back_with_its_channels_and_classes(saved):
    net = build(Arch(depth=8, shortcut="C"), channels=1, classes=7, seed=3)
    loaded = weights.load(saved({"cell_id": "0" * 16, "net": net.state_dict()}), Arch(depth=8, shortcut="C"))
    assert all(torch.equal(a, b) for a, b in zip(net.state_dict().values(), loaded.state_dict().values(), strict=True))


def test_counters_may_be_there_or_not_and_halves_are_widened(saved):
    state = theirs(18).state_dict()
    counted = state | {name: value + 5 for name, value in state.items() if name.endswith("num_batches_tracked")}
    without = {name: value.half() for name, value in state.items() if not name.endswith("num_batches_tracked")}
    assert len(without) < len(counted)
    for content in (counted, without):
        net = weights.load(saved(content), arch(18))
        assert not net.bn1.num_batches_tracked and net.conv1.weight.dtype is torch.float32
        assert torch.equal(net.fc.bias, content["fc.bias"].float())


def changed(**changes):
    state = theirs(18).state_dict()
    for name, value in changes.items():
        state[name.replace("__", ".")] = value
    return {name: value for name, value in state.items() if value is not None}


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (lambda: changed(layer3__1__bn2__running_var=None), "ResNet-18-B: lacks layer3.1.bn2.running_var$"),
        (lambda: changed(extra=torch.zeros(1)), "ResNet-18-B: has also extra$"),
        (lambda: theirs(34).state_dict(), "has also layer1.2.conv1.weight and 79 more$"),
        (lambda: theirs(50).state_dict(), "ResNet-18-B: has also layer1.0.conv3.weight and"),
        (lambda: changed(layer4__0__bn1__weight=torch.zeros(7)), "layer4.0.bn1.weight is 7, not 512$"),
        (lambda: changed(bn1__bias=torch.zeros(64).int()), "bn1.bias holds torch.int32, not floating-point numbers$"),
        (lambda: changed(fc__weight=None), "has no fc.weight: not the weights of a ResNet"),
        (lambda: changed(fc__weight=torch.zeros(3)), "fc.weight is 3, and should have 2 dimensions$"),
        (lambda: changed(fc__bias=torch.zeros(9)), "fc.bias is 9, not 10$"),
        (lambda: changed(epoch=3), "epoch is int, not a tensor; a state dict is wanted$"),
        (lambda: [1, 2], "holds list, not weights by name$"),
        (lambda: {1: torch.zeros(1)}, "holds dict, not weights by name$"),
    ],
)
def test_other_weights_are_refused_by_name(content, says, saved):
    with pytest.raises(InputError, match=says) as error:
        weights.load(saved(content()), arch(18))
    assert "net.pth: " in str(error.value) and "\n" not in str(error.value)


def test_the_width_is_told(saved):
    with pytest.raises(InputError, match=r"of width 0\.5: conv1\.weight is 64 x 3 x 7 x 7, not 32 x 3 x 7"):
        weights.load(saved(theirs(18).state_dict()), Arch("imagenet", 18, "B", 0.5))


def test_files_that_are_none(tmp_path):
    with pytest.raises(InputError, match=r"none\.pth: No such file or directory$"):
        weights.load(tmp_path / "none.pth", arch(18))
    with pytest.raises(InputError, match=r"Is a directory$"):
        weights.load(tmp_path, arch(18))
    (tmp_path / "text.pth").write_text("weights")
    with pytest.raises(InputError, match=r"text\.pth: not a file of weights \("):
        weights.load(tmp_path / "text.pth", arch(18))


def test_code_in_a_file_is_not_run(tmp_path, saved):
    with pytest.raises(InputError, match=r"not a file of weights \(damaged, or holds more than tensors by name\)$"):
        weights.load(saved({"fc.weight": _Trap(tmp_path / "sprung")}), arch(18))
    assert not (tmp_path / "sprung").exists()


class _Trap:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return type(self.path).touch, (self.path,)
