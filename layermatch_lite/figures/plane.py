"""Features and points in the plane: gradients as arrows, decision regions."""

from __future__ import annotations

import numpy as np
import torch
from matplotlib.figure import Figure
from torch import Tensor

from ..core.losses import pseudo_label
from ..core.seeding import generator
from ..core.theory import split_classifier_gradient, split_feature_gradient
from ..data.sets import SSLData
from ..data.views import Views
from ..errors import InputError
from ..models import in_mode
from .letters import drawn_names
from .style import class_styles, dress, label_left, legend_beside, panels


def toy(each: int = 8, seed: int = 0) -> tuple[Tensor, Tensor, Tensor]:
    """Three classes in the plane, to draw: features z (3 each, 2), labels y and centres W (3, 2) that point a little wrong.

    Classes overlap, so softmax(W z) labels some features wrongly, as a young network does. No biases.
    """
    g = generator(seed, "toy")
    angles = torch.tensor([90.0, 210.0, 330.0]).deg2rad()
    directions = torch.stack([angles.cos(), angles.sin()], dim=1)
    y = torch.arange(3).repeat_interleave(each)
    z = 1.7 * directions[y] + 1.1 * torch.randn(3 * each, 2, generator=g)
    turned = angles + torch.tensor([50.0, -15.0, 25.0]).deg2rad()
    return z, y, 1.2 * torch.stack([turned.cos(), turned.sin()], dim=1)


def gradient_arrows(z, y, labels, W, mask=None) -> tuple[Figure, str]:
    """What pseudo-labels do to centres (left) and to features taken as free vectors (right), in the plane.

    z (N, 2), y and labels (N,), W (C, 2), mask (N,) or None, as tensors. Arrows are descent directions, -dL/dW and -dL/dz, scaled
    so that the longest of each panel has length 1.3: blue what the true labels would do, orange what the wrong ones add.
    """
    p = (z @ W.T).softmax(dim=1)
    splits = split_classifier_gradient(z, p, labels, y, mask), split_feature_gradient(W, p, labels, y, mask)
    longest = [max(float(part.norm(dim=1).max()) for part in split) for split in splits]
    moves = [[(-1.3 / max(top, 1e-12) * part).numpy() for part in split] for split, top in zip(splits, longest)]
    wrong = ((labels != y) if mask is None else (labels != y) & mask).numpy()
    z, y, W = z.numpy(), y.numpy(), W.numpy()
    figure, axes = panels(2, 6.5, 5.0, sharex=True, sharey=True)
    titles = "Centres: the classification layer", "Features, each on its own"
    for ax, starts, parts, title in zip(axes, (W, z), moves, titles):
        for c, (color, marker) in enumerate(class_styles(len(W))):
            strength = 0.75 if starts is z else 0.3
            ax.scatter(*z[y == c].T, color=color, marker=marker, s=55, alpha=strength, zorder=2, label=f"class {c}")
            ax.annotate("", W[c], (0, 0), arrowprops=dict(arrowstyle="-", color=color, linewidth=3))
            ax.scatter(*W[c], color=color, marker=marker, s=260, edgecolor="black", linewidth=2, zorder=3)
        ring = dict(s=210, facecolor="none", edgecolor="black", linewidth=1.8)
        ax.scatter(*z[wrong].T, **ring, zorder=3, label="wrong pseudo-label")
        for move, color, label in zip(parts, ("#004B7A", "#D55E00"), ("clean part", "noise part")):
            far = np.linalg.norm(move, axis=1) > 1e-6
            to_scale = dict(angles="xy", scale_units="xy", scale=1, width=0.005)
            ax.quiver(*starts[far].T, *move[far].T, **to_scale, color=color, zorder=4, label=label)
        dress(ax, title, "feature 1")
        ax.set_aspect("equal")
    label_left(axes, "feature 2")
    legend_beside(figure, axes[1:])
    touched = [int((np.linalg.norm(noise, axis=1) > 1e-6).sum()) for _, noise in moves]
    return figure, (
        f"Of {len(z)} features {int(wrong.sum())} carry a wrong pseudo-label (ringed): their noise moves {touched[0]} of the "
        f"{len(W)} centres, which every feature of these classes meets, but only {touched[1]} of the {len(z)} features."
    )


def decision_figure(
    models: dict[str, torch.nn.Module], data: SSLData | dict[str, SSLData], threshold: float
) -> tuple[Figure, str]:
    """Decision regions of networks on points in the plane, one panel each, with their pseudo-labels right and wrong.

    models: {title: model}, looked at in eval mode; data: the points of all of them, or {title: its points}. Small marks are
    pseudo-labels over the threshold (crossed where wrong), dots are samples below it, large marks are the labelled samples.
    """
    sets = data if isinstance(data, dict) else dict.fromkeys(models, data)
    for one in sets.values():
        if one.sample_shape != (2,):
            raise InputError(
                f"{one.name!r} has samples of shape {one.sample_shape}; decision regions are drawn for points (2,)."
            )
    figure, axes = panels(len(models), 4.6, 4.4, beside=1.6, sharex=len(models) > 1, sharey=len(models) > 1)
    parts = []
    for ax, (title, model) in zip(axes, models.items()):
        data, views = sets[title], Views(sets[title])
        styles, names = class_styles(len(data.classes)), drawn_names(data.classes)
        between = [c - 0.5 for c in range(len(styles) + 1)]
        low, high = (data.x_unlabelled.amin(0) - 0.4).tolist(), (data.x_unlabelled.amax(0) + 0.4).tolist()
        xs, ys = (np.linspace(a, b, 160, dtype=np.float32) for a, b in zip(low, high))
        grid = torch.from_numpy(np.stack(np.meshgrid(xs, ys), axis=-1).reshape(-1, 2))
        u, y = data.x_unlabelled, data.y_unlabelled.numpy()
        points = u.numpy()
        regions, _ = _predictions(model, views.plain(grid), threshold)
        labels, mask = _predictions(model, views.plain(u), threshold)
        ax.contourf(xs, ys, regions.reshape(160, 160), levels=between, colors=[c for c, _ in styles], alpha=0.22)
        ax.scatter(*points[~mask].T, s=5, color="0.45", label="below τ")
        for c, (color, marker) in enumerate(styles):
            here = points[mask & (labels == c)]
            ax.scatter(*here.T, s=20, color=color, marker=marker, label=f"pseudo-label {names[c]}" if len(here) else None)
            labelled = data.x_labelled[data.y_labelled == c].numpy()
            ax.scatter(*labelled.T, s=240, color=color, marker=marker, edgecolor="black", linewidth=2.2, zorder=4)
        wrong = mask & (labels != y) & (y >= 0)
        crossed = dict(color="black", marker="x", linewidth=1.0, label="wrong" if wrong.any() else None)
        ax.scatter(*points[wrong].T, s=26, zorder=3, **crossed)
        dress(ax, title, "x", grid=None)
        rate = wrong.sum() / max(1, mask.sum())
        parts.append(f"{title}: {mask.mean():.0%} over the threshold, {rate:.0%} of these wrong")
    label_left(axes, "y")
    legend_beside(figure, axes)
    return figure, f"Decision regions on {data.name} with {data.num_labels} labels. {'; '.join(parts)}."


def gate_arrows(before: Tensor, after: Tensor, g_s: Tensor) -> tuple[Figure, str]:
    """Gradients (N, 2) before and after the gate, beside the labelled gradient g_s (2,): orange those that opposed it before."""
    figure, axes = panels(2, 4.4, 4.2, sharex=True, sharey=True)
    opposed, to_scale = before @ g_s < -1e-6, dict(angles="xy", scale_units="xy", scale=1)
    for ax, arrows, title in zip(axes, (before, after), ("before the gate", "after it")):
        for part, color, width in ((~opposed, "#0072B2", 0.008), (opposed, "#D55E00", 0.012)):
            ax.quiver(*torch.zeros(2, int(part.sum())), *arrows[part].T, **to_scale, color=color, width=width)
        ax.quiver(0, 0, *g_s, **to_scale, color="black", width=0.016)
        dress(ax, title, "first coordinate", grid=None)
        ax.set(xlim=(-1.2, 1.2), ylim=(-1.2, 1.2), aspect="equal")
    label_left(axes, "second coordinate")
    left = int((after @ g_s < -1e-6).sum())
    return figure, f"{len(before)} arrows and g_s (black): {int(opposed.sum())} oppose g_s before the gate, {left} after it."


def _predictions(model: torch.nn.Module, x: torch.Tensor, threshold: float) -> tuple[np.ndarray, np.ndarray]:
    """Labels and mask of a model in eval mode, on the model's device; its mode is left as it was."""
    with torch.no_grad(), in_mode(model, train=False):
        labels, mask, _ = pseudo_label(model(x.to(next(model.parameters()).device)), threshold)
    return labels.cpu().numpy(), mask.cpu().numpy()
