"""Layer benefit: the paper's title, measured. What would pseudo-labels do to each layer?

For every layer the gradient of FixMatch's L_u on the same strong views is taken four times, with {pseudo, true} labels
on {masked, all} samples, and compared. The quantities are our formulation.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from typing import TYPE_CHECKING, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..errors import InputError, check_range
from ..models import Classifier
from ..variants.noise import KINDS, check_noise, corrupt, rows
from .losses import at_least_float32, pseudo_label
from .seeding import generator as make_generator
from .theory import classifier_gradient, error, with_bias

if TYPE_CHECKING:
    import pandas as pd


def layer_benefit(
    model: nn.Module,
    x: Tensor,
    y: Tensor,
    weak: Tensor,
    strong: Tensor,
    y_true: Tensor,
    *,
    threshold: float,
    generator: torch.Generator | None = None,
    noise: Callable | None = None,
) -> pd.DataFrame:
    """Measure every layer at the model's current weights, always for plain FixMatch, whatever the method trains with.

    Works for any classifier whose last layer is an `nn.Linear`. One joint forward in train mode, as in training but without
    autocast, and six backward passes. The mode, the buffers (BN statistics), the random state and every `.grad` are left as they
    were.

    Args:
        model: maps a batch to logits (N, C); its output is that of its last `nn.Linear`.
        x, y: (B, ...) labelled views and their int64 labels.
        weak, strong: (N, ...) views of the same N unlabelled samples; y_true: (N,) int64, their true labels.
        threshold: tau.
        generator: draws the random subset of the control; by default the same one every time.
        noise: for study, a function (labels, p) -> labels that spoils some pseudo-labels (`layermatch_lite.variants.noise`).

    Returns:
        One row per layer, in the model's order. With g(labels, samples) the gradient of L_u:
        layer                   conv 1, block 2, ..., classifier: with biases and the normalisation that follows (`layers`)
        benefit                 <g(pseudo, masked), g(true, masked)> / |g(true, masked)|^2: to first order, a step lowers the
                                true loss of these samples 1: as much as with true labels, 0: not at all, negative: it
                                rises. No ceiling at 1, and what is orthogonal to the true gradient does not count
        cosine                  between the same two gradients: how much of the step goes in the true direction
        alignment               cos(g(pseudo, masked), g(true, all)): effect on the loss one really wants
        alignment_true_masked   the same with true labels: what selection by confidence does alone
        alignment_pseudo_all    the same with all samples: what wrong labels do alone
        alignment_true_random   control: true labels on a random subset as large as the mask
        interference            cos(g(pseudo, masked), gradient of L_s): needs no true labels
        norm_pseudo, norm_true, norm_labelled   |g(pseudo, masked)|, |g(true, masked)|, |gradient of L_s|
        norm_noise              |g(pseudo, masked) - g(true, masked)|: the part that wrong labels add to the clean one, norm_true
        mask_rate, wrong_rate   share of samples over tau; share of wrong labels among them (NaN if there are none)
        empty                   True where no sample passed, or where the true gradient of those that did is zero (nothing left
                                to learn): then there is nothing to compare, and ratios with a zero gradient are given as 0

    Raises:
        InputError: for a model without a linear last layer, a layer that the output does not depend on, outputs with NaN,
            a threshold outside [0, 1], or batches and labels that do not fit together.
    """
    import pandas as pd

    g = generator or make_generator(0, "probe", strong.device)
    records = measure(model, x, y, weak, strong, y_true, threshold=threshold, generator=g, noise=noise)
    return pd.DataFrame(records).astype({"wrong_rate": "float64"})


@torch.enable_grad()
def measure(
    model: nn.Module,
    x: Tensor,
    y: Tensor,
    weak: Tensor,
    strong: Tensor,
    y_true: Tensor,
    *,
    threshold: float | Tensor,
    generator: torch.Generator,
    noise: Callable | None = None,
) -> list[dict]:
    """`layer_benefit` as plain records, for the history of a run; wrong_rate is None where the mask is empty."""
    _check(x, y, weak, strong, y_true, threshold)
    with _in_train_mode(model):
        n = len(strong)
        with _own_randomness(model, strong.device):
            output, classifier = last_layer(model, torch.cat([x, weak, strong]))
        _check_output(output, y, y_true)
        groups = layers(model, classifier)
        if not output.requires_grad:
            raise InputError(_WITHOUT_GRADIENT.format(name=", ".join(groups)))
        parameters = [p for group in groups.values() for p in group]
        logits_x, logits_weak, logits = at_least_float32(output).split([len(x), n, n])
        labels, mask, _ = pseudo_label(logits_weak, threshold, noise)
        p = logits.detach().softmax(dim=1)

        def gradient(targets: Tensor, samples: Tensor) -> list[Tensor]:
            """Of (1/N) sum_i samples_i CE(logits_i, targets_i), one flat vector per layer."""
            return by_layer(logits, error(p, targets, samples))

        def by_layer(out: Tensor, e: Tensor | None = None, last: bool = False) -> list[Tensor]:
            flat = iter(torch.autograd.grad(out, parameters, e, retain_graph=not last, allow_unused=True))
            whole = {name: [next(flat) for _ in group] for name, group in groups.items()}
            for name, parts in whole.items():
                if any(part is None for part in parts):
                    raise InputError(_WITHOUT_GRADIENT.format(name=name))
            return [torch.cat([part.flatten() for part in parts]) for parts in whole.values()]

        at_random = torch.zeros_like(mask)
        order = torch.randperm(n, generator=generator, device=generator.device).to(mask.device)
        at_random[order[: int(mask.sum())]] = True
        pseudo_masked, true_masked = gradient(labels, mask), gradient(y_true, mask)
        pseudo_all, true_all = gradient(labels, torch.ones_like(mask)), gradient(y_true, torch.ones_like(mask))
        true_random = gradient(y_true, at_random)
        labelled = by_layer(F.cross_entropy(logits_x, y), last=True)

    masked = int(mask.sum())
    wrong_rate = float((labels != y_true)[mask].float().mean()) if masked else None
    return [
        {
            "layer": name,
            "benefit": _ratio(pseudo_masked[i] @ true_masked[i], true_masked[i] @ true_masked[i]),
            "cosine": cosine(pseudo_masked[i], true_masked[i]),
            "alignment": cosine(pseudo_masked[i], true_all[i]),
            "alignment_true_masked": cosine(true_masked[i], true_all[i]),
            "alignment_pseudo_all": cosine(pseudo_all[i], true_all[i]),
            "alignment_true_random": cosine(true_random[i], true_all[i]),
            "interference": cosine(pseudo_masked[i], labelled[i]),
            "norm_pseudo": float(pseudo_masked[i].norm()),
            "norm_true": float(true_masked[i].norm()),
            "norm_noise": float((pseudo_masked[i] - true_masked[i]).norm()),
            "norm_labelled": float(labelled[i].norm()),
            "mask_rate": masked / n,
            "wrong_rate": wrong_rate,
            "empty": masked == 0 or not bool(true_masked[i].any()),
        }
        for i, name in enumerate(groups)
    ]


def benefit_under_noise(
    model: nn.Module,
    x: Tensor,
    y: Tensor,
    weak: Tensor,
    strong: Tensor,
    y_true: Tensor,
    *,
    threshold: float,
    rates: Sequence[float],
    kinds: Sequence[str] = KINDS,
    generator: torch.Generator | None = None,
) -> pd.DataFrame:
    """The layer benefit, had the pseudo-labels known errors: true labels spoiled at each rate, by each kind of noise.

    Arguments as for `layer_benefit`; kinds and rates as in `layermatch_lite.variants.noise`. The samples over the threshold stay the
    network's own choice, and all measurements share one uniform number per sample. Returns the table of `layer_benefit` once per
    kind and rate, with columns kind and rate.
    """
    import pandas as pd

    g = generator or make_generator(0, "probe", strong.device)
    u = torch.rand(len(strong), generator=g, device=g.device).to(strong.device)
    state, tables = g.get_state(), []
    for kind in kinds:
        for rate in rates:
            check_noise(kind, rate)

            def spoil(_: Tensor, p: Tensor) -> Tensor:
                """The rate holds among the samples over tau, and among the others."""
                labels, over = y_true.clone(), p.amax(dim=1) >= threshold
                for part in (over, ~over):
                    if part.any():
                        labels[part] = corrupt(y_true[part], rows(kind, rate, y_true[part], p[part]), u[part])
                return labels

            g.set_state(state)  # the same random subset for the control, too
            t = layer_benefit(model, x, y, weak, strong, y_true, threshold=threshold, generator=g, noise=spoil)
            tables.append(t.assign(kind=kind, rate=rate))
    return pd.concat(tables, ignore_index=True)


class LabelCosts(NamedTuple):
    """What every possible label of every sample would do to every layer at one threshold; see `label_costs`.

    benefit = start[k, l] - sum_i cost[k, l, i, q_i]
    """

    layers: list[str]
    start: Tensor  # (K, L) benefit of the true labels: 1 against W itself, about 1 against other centres
    cost: Tensor  # (K, L, N, C) what calling sample i class c takes away; 0 for its true class and below tau
    p_weak: Tensor  # (N, C) probabilities of the weak views, which make labels and mask
    z: Tensor  # (N, D) features and
    p: Tensor  # (N, C) probabilities of the strong views
    labelled: Tensor  # (C, D+1) gradient of L_s in (W, b)


@torch.enable_grad()
def label_costs(
    model: nn.Module,
    x: Tensor,
    y: Tensor,
    weak: Tensor,
    strong: Tensor,
    y_true: Tensor,
    *,
    thresholds: Sequence[float],
    centers: Sequence[tuple[Tensor, Tensor]] = (),
) -> Iterator[LabelCosts]:
    """Take the layer benefit apart into one number per label, for each threshold in turn.

    The gradient is linear in the labels, so its product with g(true, masked) is a sum over samples. Per layer one derivative of
    the features along g(true, masked) gives all summands; after that the benefit of any labels is a look-up and a sum, and equals
    that of `layer_benefit` with those labels. Where g(true, masked) is zero, so are start and cost. Our formulation.

    Args:
        model: with `features` and `classifier` as in `layermatch_lite.models`. The other arguments are those of `layer_benefit`.
        thresholds: tau, one result each; the model is in train mode until the last is taken.
        centers: further (V (C, D), v (C,)) to teach the features against, as Avg-Clustering does; K = 1 + their number, the
            first being (W, b). Their gradient is compared with the same g(true, masked); the classifier's own does not change.
    """
    for tau in thresholds:
        _check(x, y, weak, strong, y_true, tau)
    n, classifier = len(strong), model.classifier
    groups = layers(model, classifier)
    W, b = classifier.weight.detach(), classifier.bias.detach()
    with _in_train_mode(model):
        with _own_randomness(model, strong.device):
            z_x, z_weak, z_strong = model.features(torch.cat([x, weak, strong])).split([len(x), n, n])
        z, z_x = z_strong.detach(), z_x.detach()
        softmax = lambda V, v, z: F.linear(z, V, v).softmax(dim=1)
        _check_output(F.linear(z, W, b), y, y_true)
        p_weak, p = softmax(W, b, z_weak.detach()), softmax(W, b, z)
        taught = [(V, softmax(V, v, z)) for V, v in ((W, b), *centers)]
        labelled = classifier_gradient(with_bias(z_x), softmax(W, b, z_x), y)
        # r -> dL/dtheta for dL/dz = r is linear. Its transpose, the derivative of z along a direction, comes by going back twice.
        below = [q for name, group in groups.items() if name != "classifier" for q in group]
        r = torch.zeros_like(z).requires_grad_()
        transposed = dict(zip(below, torch.autograd.grad(z_strong, below, r, create_graph=True)))
        own_class = y_true.unsqueeze(1)
        for tau in thresholds:
            mask = p_weak.amax(dim=1) >= tau
            e = error(p, y_true, mask)
            true = dict(zip(below, torch.autograd.grad(z_strong, below, e @ W, retain_graph=True)))
            start, cost = [], []
            for name, group in groups.items():
                if name == "classifier":
                    g = classifier_gradient(with_bias(z), p, y_true, mask)
                    norm2, responses = g.square().sum(), [(with_bias(z) @ g.T, p)] * len(taught)
                else:
                    norm2 = sum(true[q].square().sum() for q in group)
                    along = sum((transposed[q] * true[q]).sum() for q in group)
                    (dz,) = torch.autograd.grad(along, r, retain_graph=True)
                    responses = [(dz @ V.T, p_taught) for V, p_taught in taught]
                scale = 1 / norm2 if norm2 > 0 else 0.0
                start.append(
                    torch.stack([(error(p_taught, y_true, mask) * h).sum() * scale for h, p_taught in responses])
                )
                cost.append(
                    torch.stack([(h - h.gather(1, own_class)) * mask.unsqueeze(1) * (scale / n) for h, _ in responses])
                )
            yield LabelCosts(list(groups), torch.stack(start, dim=1), torch.stack(cost, dim=1), p_weak, z, p, labelled)


@contextmanager
def _in_train_mode(model: nn.Module) -> Iterator[None]:
    """Inside, BN uses the statistics of the batch, as in training; afterwards modes and buffers are as they were."""
    buffers = [(m, k, b, b.clone()) for m in model.modules() for k, b in m._buffers.items() if b is not None]
    modes = [(module, module.training) for module in model.modules()]
    model.train()
    try:
        yield
    finally:
        for module, mode in modes:
            module.training = mode
        with torch.no_grad():
            for module, name, buffer, saved in buffers:
                buffer.copy_(saved)
                module._buffers[name] = buffer  # a forward may have put another tensor in its place


_WITHOUT_GRADIENT = (
    "layer '{name}' has a parameter without a gradient: the output does not depend on it. Take it out of the model, or leave it "
    "out of the measurement with .requires_grad_(False)."
)


def _check(x: Tensor, y: Tensor, weak: Tensor, strong: Tensor, y_true: Tensor, threshold: float | Tensor) -> None:
    if not isinstance(threshold, Tensor):
        check_range("threshold", threshold, 0, 1)
    if not len(y) or y.shape != x.shape[:1]:
        raise InputError(
            f"x has {len(x)} labelled samples and y is {tuple(y.shape)}; give one label per sample, at least one."
        )
    n = weak.shape[:1]
    if not len(weak) or strong.shape[:1] != n or y_true.shape != n:
        raise InputError(
            f"weak, strong and y_true have {len(weak)}, {len(strong)} and {tuple(y_true.shape)} entries; give both views and the "
            "true label of the same samples, at least one."
        )


def _check_output(output: Tensor, y: Tensor, y_true: Tensor) -> None:
    C = output.shape[1]
    if C < 2:
        raise InputError("the model has one output; a classifier needs one for each of at least two classes.")
    if bad := int((~output.isfinite()).any(dim=1).sum()):
        raise InputError(
            f"{bad} of {len(output)} outputs are NaN or infinite; look for such values in the views or the weights."
        )
    for name, labels in (("y", y), ("y_true", y_true)):
        if labels.is_floating_point() or int(labels.min()) < 0 or int(labels.max()) >= C:
            raise InputError(
                f"{name} holds labels from {labels.min()} to {labels.max()}; give whole numbers from 0 to {C - 1}, as many as "
                "the model has outputs."
            )


def last_layer(model: nn.Module, batch: Tensor) -> tuple[Tensor, nn.Linear]:
    """Run the model: its logits (N, C), and the linear layer they come from.

    Raises InputError where the output does not come straight out of an `nn.Linear`.
    """
    seen = {}

    def remember(module: nn.Linear, inputs: tuple, output: Tensor) -> None:
        seen.update(layer=module, output=output)

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
    return output, seen["layer"]


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


def _own_randomness(model: nn.Module, device: torch.device):
    """Whatever the model draws inside (dropout does) leaves no trace in the global random states of the CPU and of this device.

    The package's own models draw nothing; for them the global state is left alone, since another thread may be using it.
    """
    if isinstance(model, Classifier):
        return nullcontext()
    return torch.random.fork_rng(
        [] if device.type == "cpu" else [device], device_type=device.type if device.type != "cpu" else "cuda"
    )


def cosine(a: Tensor, b: Tensor) -> float:
    """cos of the angle between two flat vectors; 0 where either is zero."""
    return _ratio(a @ b, a.norm() * b.norm())


def _ratio(top: Tensor, bottom: Tensor) -> float:
    return float(top / bottom) if bottom > 0 else 0.0
