"""Confidence and the threshold."""

from __future__ import annotations

import numpy as np
from matplotlib.figure import Figure

from .style import dress, panels


def threshold_figure(confidence, right, tau: float | None = None) -> tuple[Figure, str]:
    """Is the network as right as it is sure (left), and what does each threshold let through (right)? confidence, right: (N,)."""
    confidence, right = np.asarray(confidence, float), np.asarray(right, float)
    figure, (left, other) = panels(2, 6.25, 4.8)
    bins = np.clip((confidence * 10).astype(int), 0, 9)
    full = [b for b in range(10) if (bins == b).sum() >= 5]
    means = ([v[bins == b].mean() for b in full] for v in (confidence, right))
    left.plot([0, 1], [0, 1], color="black", linestyle=":", label="calibrated")
    left.plot(*means, color="#0072B2", marker="D", linewidth=2.4, markersize=8, label="network (bins of 0.1)")
    taus = np.linspace(0, 0.99, 100)
    over = confidence[None] >= taus[:, None]
    rates = over.mean(axis=1)
    rightness = np.where(rates > 0, (over * right).sum(axis=1) / np.maximum(1, over.sum(axis=1)), np.nan)
    for values, color, line, label in (
        (rates, "#E69F00", "--", "mask rate"),
        (rightness, "#0072B2", "-", "right among them"),
        (rates * (1 - rightness), "#D55E00", ":", "wrong labels, of all samples"),
    ):
        other.plot(taus, values, color=color, linestyle=line, linewidth=2.8, label=label)
    if tau is not None:
        other.axvline(tau, color="black", linewidth=1.3)
        other.annotate(f"τ = {tau:g}", (tau, 1.03), ha="center", va="bottom", fontsize=12, annotation_clip=False)
    dress(left, x="mean confidence", y="share of right labels")
    dress(other, x="threshold τ", y="share")
    left.legend(fontsize=12)
    other.legend(fontsize=12, loc="lower left")
    for ax in (left, other):
        ax.set_ylim(-0.02, 1.02)
    gap, at = confidence.mean() - right.mean(), 0.0 if tau is None else tau
    sure = confidence >= at
    passed = "nothing passes"
    if sure.any():
        passed = f"a share of {sure.mean():.2f} passes, and {right[sure].mean():.2f} of it is right"
    return figure, (
        f"Mean confidence {confidence.mean():.2f}, {right.mean():.2f} of the labels right, a gap of {gap:+.2f}; at threshold "
        f"{at:g} {passed}."
    )
