"""The networks. Each one is a feature extractor plus a linear classification layer:

    model.features(x)   (N, D) features
    model.classifier    nn.Linear(D, C)
    model(x)            == model.classifier(model.features(x)), logits (N, C)

The top-level children are the layers that tables and figures name: conv1, conv2, ..., fc, classifier.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from .errors import InputError, check_choice, check_range, takes

SLOPE = 0.1  # of every LeakyReLU, as in the FixMatch code base


class Classifier(nn.Module):
    """`features` followed by `classifier`; the models below define both."""

    def __init__(self, num_classes: int, bn_momentum: float, **sizes: int):
        check_range("num_classes", num_classes, 2, 10**6, whole=True)
        check_range("bn_momentum", bn_momentum, 0, 1, open_low=True)
        for name in sizes:
            check_range(name, sizes[name], 1, 10**5, whole=True)
        super().__init__()

    def forward(self, x: Tensor) -> Tensor:
        return self.classifier(self.features(x))


def _layer(linear_map: nn.Module, norm: nn.Module) -> nn.Sequential:
    return nn.Sequential(linear_map, norm, nn.LeakyReLU(SLOPE, inplace=True))


class MLP(Classifier):
    """For points: (N, in_features) float through two hidden layers. D = hidden.

    With `plane` a third layer brings the features down to D = 2, so that they and the centres can be drawn as they are.
    """

    @takes(plane="flag")
    def __init__(self, in_features: int = 2, hidden: int = 64, num_classes: int = 2, bn_momentum: float = 0.1, plane=False):
        super().__init__(num_classes, bn_momentum, in_features=in_features, hidden=hidden)
        self.fc1 = _layer(nn.Linear(in_features, hidden, bias=False), nn.BatchNorm1d(hidden, momentum=bn_momentum))
        self.fc2 = _layer(nn.Linear(hidden, hidden, bias=False), nn.BatchNorm1d(hidden, momentum=bn_momentum))
        D, self.fc3 = 2 if plane else hidden, None
        if plane:  # no activation after it: centres may lie in every direction
            self.fc3 = nn.Sequential(nn.Linear(hidden, D, bias=False), nn.BatchNorm1d(D, momentum=bn_momentum))
        self.classifier = nn.Linear(D, num_classes)
        init_weights(self)

    def features(self, x: Tensor) -> Tensor:
        z = self.fc2(self.fc1(x))
        return z if self.fc3 is None else self.fc3(z)


class SmallCNN1d(Classifier):
    """For signals: (N, in_channels, L) float of any length through three convolutions and a dense layer. D = 2 width.

    The maximum over time follows the convolutions: what was seen counts, not when.
    """

    def __init__(self, in_channels: int = 1, width: int = 32, num_classes: int = 10, bn_momentum: float = 0.1):
        super().__init__(num_classes, bn_momentum, in_channels=in_channels, width=width)

        def conv(i: int, o: int, k: int, stride: int) -> nn.Sequential:
            linear_map = nn.Conv1d(i, o, k, stride=stride, padding=k // 2, bias=False)
            return _layer(linear_map, nn.BatchNorm1d(o, momentum=bn_momentum))

        self.conv1 = conv(in_channels, width, 5, 1)
        self.conv2 = conv(width, width, 3, 2)
        self.conv3 = conv(width, width, 3, 2)
        self.fc = _layer(nn.Linear(width, 2 * width, bias=False), nn.BatchNorm1d(2 * width, momentum=bn_momentum))
        self.classifier = nn.Linear(2 * width, num_classes)
        init_weights(self)

    def features(self, x: Tensor) -> Tensor:
        return self.fc(self.conv3(self.conv2(self.conv1(x))).amax(dim=2))


def _conv(i: int, o: int, stride: int, bn_momentum: float) -> nn.Sequential:
    return _layer(nn.Conv2d(i, o, 3, stride=stride, padding=1, bias=False), nn.BatchNorm2d(o, momentum=bn_momentum))


class SmallCNN(Classifier):
    """For images: (N, in_channels, H, W) float of any size through three convolutions and a mean over the image. D = 4 width."""

    def __init__(self, in_channels: int = 3, width: int = 16, num_classes: int = 10, bn_momentum: float = 0.1):
        super().__init__(num_classes, bn_momentum, in_channels=in_channels, width=width)
        self.conv1 = _conv(in_channels, width, 1, bn_momentum)
        self.conv2 = _conv(width, 2 * width, 2, bn_momentum)
        self.conv3 = _conv(2 * width, 4 * width, 2, bn_momentum)
        self.classifier = nn.Linear(4 * width, num_classes)
        init_weights(self)

    def features(self, x: Tensor) -> Tensor:
        return self.conv3(self.conv2(self.conv1(x))).mean(dim=(2, 3))


class Patches(nn.Module):
    """Nearly whitened 4x4 patches, two pixels apart: (N, C, H, W) -> (N, 16 C, H/2, W/2). Nothing in it is trained.

    Photographs vary most in what is smooth, which slows learning. Each patch is written in cosines (JPEG's DCT, in grey and two
    differences of colour), and each of these is scaled to unit variance, but for the faintest, which are noise.
    """

    def __init__(self, channels: int, bn_momentum: float):
        super().__init__()
        n = torch.arange(4.0)
        cosines = torch.cos(torch.pi * torch.outer(n, n + 0.5) / 4) * torch.where(n == 0, 0.5, 0.5**0.5).unsqueeze(1)
        colours = torch.eye(channels)
        if channels == 3:
            colours = F.normalize(torch.tensor([[1.0, 1.0, 1.0], [1.0, 0.0, -1.0], [1.0, -2.0, 1.0]]))
        weight = torch.einsum("kc,ui,vj->kuvcij", colours, cosines, cosines).reshape(-1, channels, 4, 4)
        self.register_buffer("weight", weight, persistent=False)
        self.norm = nn.BatchNorm2d(len(weight), eps=0.01, momentum=bn_momentum, affine=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(F.conv2d(x, self.weight, stride=2, padding=1))


class PatchCNN(Classifier):
    """For photographs on a CPU: (N, in_channels, H, W) float through `Patches` and five convolutions. D = 8 width.

    Nearly all of its arithmetic is on at most 16x16 pixels and in at least 64 channels, where processors are fastest.
    """

    def __init__(self, in_channels: int = 3, width: int = 32, num_classes: int = 10, bn_momentum: float = 0.1):
        super().__init__(num_classes, bn_momentum, in_channels=in_channels, width=width)
        self.patches = Patches(in_channels, bn_momentum)
        widths = (16 * in_channels, 2 * width, 2 * width, 4 * width, 4 * width, 8 * width)
        for n, (i, o, stride) in enumerate(zip(widths, widths[1:], (1, 1, 2, 1, 2)), 1):
            self.add_module(f"conv{n}", _conv(i, o, stride, bn_momentum))
        self.classifier = nn.Linear(8 * width, num_classes)
        init_weights(self)

    def features(self, x: Tensor) -> Tensor:
        return self.conv5(self.conv4(self.conv3(self.conv2(self.conv1(self.patches(x)))))).mean(dim=(2, 3))


class _Block(nn.Module):
    """Pre-activation residual block; where the width changes, the shortcut is a 1x1 convolution."""

    def __init__(self, i: int, o: int, stride: int, bn_momentum: float, activate_shortcut: bool):
        super().__init__()
        self.bn1 = nn.BatchNorm2d(i, momentum=bn_momentum)
        self.conv1 = nn.Conv2d(i, o, 3, stride=stride, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(o, momentum=bn_momentum)
        self.conv2 = nn.Conv2d(o, o, 3, padding=1, bias=False)
        self.shortcut = nn.Identity() if i == o and stride == 1 else nn.Conv2d(i, o, 1, stride=stride, bias=False)
        self.activate_shortcut = activate_shortcut

    def forward(self, x: Tensor) -> Tensor:
        h = F.leaky_relu(self.bn1(x), SLOPE)
        x = self.shortcut(h if self.activate_shortcut else x)
        h = self.conv2(F.leaky_relu(self.bn2(self.conv1(h)), SLOPE))
        return x + h


class WideResNet(Classifier):
    """WRN-depth-width (Zagoruyko and Komodakis 2016) as FixMatch uses it: (N, 3, H, W) float. D = 64 width.

    LeakyReLU 0.1, BN momentum 0.001, the first block's shortcut activated, no dropout. The input is
    32x32 in the protocol; other sizes work, since the last step is a mean over the image.
    """

    def __init__(self, depth: int = 28, width: int = 2, num_classes: int = 10, bn_momentum: float = 0.001, in_channels: int = 3):
        super().__init__(num_classes, bn_momentum, in_channels=in_channels, width=width, depth=depth)
        if depth < 10 or (depth - 4) % 6:
            raise InputError(f"depth={depth!r} is not a WideResNet depth; give 6n + 4: 10, 16, 22, 28, ...")
        if depth > 1000 or depth * width**2 > 10**5:  # about 10^9 weights; wrn-28-10 has 36 million
            raise InputError(f"depth={depth}, width={width} is a network beyond every machine; give a smaller one.")
        widths = [16, 16 * width, 32 * width, 64 * width]

        def group(i: int, o: int, stride: int, first: bool) -> nn.Sequential:
            blocks = [
                _Block(i if n == 0 else o, o, stride if n == 0 else 1, bn_momentum, first and n == 0)
                for n in range((depth - 4) // 6)
            ]
            return nn.Sequential(*blocks)

        self.conv1 = nn.Conv2d(in_channels, widths[0], 3, padding=1, bias=False)
        self.block1 = group(widths[0], widths[1], 1, True)
        self.block2 = group(widths[1], widths[2], 2, False)
        self.block3 = group(widths[2], widths[3], 2, False)
        self.bn = nn.BatchNorm2d(widths[3], momentum=bn_momentum)
        self.classifier = nn.Linear(widths[3], num_classes)
        init_weights(self)

    def features(self, x: Tensor) -> Tensor:
        x = self.block3(self.block2(self.block1(self.conv1(x))))
        return F.leaky_relu(self.bn(x), SLOPE).mean(dim=(2, 3))


def init_weights(model: nn.Module, generator: torch.Generator | None = None) -> None:
    """Draw every weight: He normal for convolutions and hidden layers, Xavier normal for the classifier.

    Without a generator the draw comes from torch's global one, as PyTorch's own layers do.
    """
    for module in model.modules():
        if isinstance(module, (nn.Conv1d, nn.Conv2d, nn.Linear)) and module is not model.classifier:
            how = dict(mode="fan_out", nonlinearity="leaky_relu", generator=generator)
            nn.init.kaiming_normal_(module.weight, a=SLOPE, **how)
    nn.init.xavier_normal_(model.classifier.weight, generator=generator)
    nn.init.zeros_(model.classifier.bias)


DRAWS = ("uniform_", "normal_", "kaiming_uniform_", "kaiming_normal_", "xavier_normal_")


class _NoDraws(TorchFunctionMode):
    """Inside, constructors leave weights undrawn: the global generator belongs to the user, perhaps in another thread."""

    def __torch_function__(self, function, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        if getattr(function, "__name__", "") in DRAWS:
            return args[0] if args else kwargs["tensor"]
        return function(*args, **kwargs)


# {name: (dimensions of a sample, how to make it)}
NETWORKS = {
    "mlp": (1, MLP),
    "mlp_plane": (1, partial(MLP, plane=True)),
    "small_cnn_1d": (2, SmallCNN1d),
    "small_cnn": (3, SmallCNN),
    "patch_cnn": (3, PatchCNN),
}


def build_model(
    name: str,
    sample_shape: tuple[int, ...],
    num_classes: int,
    *,
    bn_momentum: float = 0.1,
    generator: torch.Generator | None = None,
) -> Classifier:
    """The model that a setting names, with weights drawn from `generator` and no trace in the global one.

    Args:
        name: "auto" (by the shape of a sample), one of NETWORKS ("mlp_plane" has two features), or "wrn-DEPTH-WIDTH".
        sample_shape: shape of one sample: (2,) a point, (1, 40) a signal, (3, 32, 32) an image.
    """
    dims, channels = len(sample_shape), sample_shape[0]
    if name == "auto":
        name = {1: "mlp", 2: "small_cnn_1d", 3: "small_cnn"}[dims]
    if wrn := re.fullmatch(r"wrn-(\d{1,4})-(\d{1,4})", name):
        fits, make = 3, partial(WideResNet, int(wrn[1]), int(wrn[2]))
    else:
        check_choice("model", name, ("auto", *NETWORKS, "wrn-28-2"))
        fits, make = NETWORKS[name]
    if dims != fits:
        raise InputError(f"model={name!r} does not fit samples of shape {tuple(sample_shape)}; use model='auto'.")
    with _NoDraws():  # the weights are drawn below, from `generator`
        given = {"in_features" if dims == 1 else "in_channels": channels}
        model = make(num_classes=num_classes, bn_momentum=bn_momentum, **given)
    init_weights(model, generator)
    return model


# --- the layers of any network ----------------------------------------------------------------------------------------


def last_layer(model: nn.Module, batch: Tensor) -> tuple[Tensor, nn.Linear, Tensor]:
    """Run the model: its logits (N, C), the linear layer they come from, and the features (N, D) that this layer reads.

    Raises InputError where the output does not come straight out of an `nn.Linear`.
    """
    seen = {}

    def remember(module: nn.Linear, inputs: tuple, output: Tensor) -> None:
        seen.update(layer=module, output=output, features=inputs[0])

    hooks = [m.register_forward_hook(remember) for m in model.modules() if isinstance(m, nn.Linear)]
    try:
        output = model(batch)
    finally:
        for hook in hooks:
            hook.remove()
    if not isinstance(output, Tensor) or seen.get("output") is not output or output.dim() != 2:
        raise InputError(
            f"{type(model).__name__} has no linear last layer: its output must be the (N, C) output of an nn.Linear. Return the "
            "logits themselves, without a softmax after them; a 1x1 convolution can be written as an nn.Linear."
        )
    return output, seen["layer"], seen["features"]


def layers(model: nn.Module, classifier: nn.Linear) -> dict[str, list[nn.Parameter]]:
    """{name: trainable parameters} of every layer, named as one would say it: "conv 1", "block 2", "classifier" (the last).

    A layer is a top-level child, with a normalisation that follows it; a lone wrapper around all of them is opened, and so is
    what contains the classifier. Frozen layers are left out.

    Raises InputError where nothing is trainable.
    """
    parts = list(_parts(model, classifier))
    while len(parts) == 1 and isinstance(parts[0][1], nn.Module):
        inner = list(_parts(parts[0][1], classifier))
        if not inner or (len(inner) > 1 and all(_is_norm(part) for _, part in inner[1:])):
            break  # one layer, perhaps with its normalisation: there is nothing more to tell apart
        if all(isinstance(part, nn.Parameter) for _, part in inner):
            break
        parts = inner
    named: dict[str, list[nn.Parameter]] = {}
    taken, counts = {id(p) for p in classifier.parameters()}, {}
    for path, part in parts:
        own = [part] if isinstance(part, nn.Parameter) else list(part.parameters())
        own = [p for p in own if p.requires_grad and id(p) not in taken]
        taken.update(map(id, own))
        if _is_norm(part) and named:
            named[list(named)[-1]] += own
            continue
        name = _spoken(path, part, counts)
        named[f"{name} ({path})" if name in named or name == "classifier" else name] = own
    # Dropped only now, so that names do not depend on what is frozen.
    named = {name: own for name, own in named.items() if own}
    if last := [p for p in classifier.parameters() if p.requires_grad]:
        named["classifier"] = last
    if not named:
        raise InputError(
            f"{type(model).__name__} has no trainable parameter; unfreeze a layer with .requires_grad_(True)."
        )
    return named


def _parts(module: nn.Module, classifier: nn.Linear, path: str = "") -> Iterator[tuple[str, nn.Module | nn.Parameter]]:
    """(path, child) of everything inside `module` that holds parameters, opening what contains the classifier."""
    yield from ((path + name, p) for name, p in module.named_parameters(recurse=False))
    for name, child in module.named_children():
        if child is classifier or not any(True for _ in child.parameters()):
            continue
        if any(m is classifier for m in child.modules()):
            yield from _parts(child, classifier, f"{path}{name}.")
        else:
            yield path + name, child


def _is_norm(part: object) -> bool:
    return isinstance(part, nn.Module) and "Norm" in type(part).__name__ and not any(True for _ in part.children())


def _spoken(path: str, part: object, counts: dict[str, int]) -> str:
    """ "conv1" -> "conv 1"; a numbered child is called by its type and counted: "conv 1", "linear 2"."""
    name = path.split(".")[-1]
    if not name.isdigit():
        return re.sub(r"(?<=[A-Za-z])_?(?=\d)", " ", name)
    kind = re.sub(r"\d+d$", "", type(part).__name__).lower()
    counts[kind] = counts.get(kind, 0) + 1
    return f"{kind} {counts[kind]}"


# --- a look at a network leaves it as it was ---------------------------------------------------------------------------

@contextmanager
def in_mode(model: nn.Module, train: bool) -> Iterator[None]:
    """Inside, every module is in train mode, or in eval mode; afterwards each is in the mode it was in."""
    modes = [(module, module.training) for module in model.modules()]
    model.train(train)
    try:
        yield
    finally:
        for module, mode in modes:
            module.training = mode


@contextmanager
def in_train_mode(model: nn.Module) -> Iterator[None]:
    """Inside, BN uses the statistics of the batch, as in training; afterwards modes and buffers are as they were."""
    buffers = [(m, k, b, b.clone()) for m in model.modules() for k, b in m._buffers.items() if b is not None]
    try:
        with in_mode(model, train=True):
            yield
    finally:
        with torch.no_grad():
            for module, name, buffer, saved in buffers:
                buffer.copy_(saved)
                module._buffers[name] = buffer  # a forward may have put another tensor in its place


def own_randomness(model: nn.Module, device: torch.device):
    """Whatever the model draws inside (dropout does) leaves no trace in the global random states of the CPU and of this device.

    The package's own models draw nothing; for them the global state is left alone, since another thread may be using it.
    """
    if isinstance(model, Classifier):
        return nullcontext()
    return torch.random.fork_rng(
        [] if device.type == "cpu" else [device], device_type=device.type if device.type != "cpu" else "cuda"
    )
