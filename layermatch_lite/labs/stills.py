"""A lab's state as a picture with alt text, for readers of a saved notebook: no JavaScript runs there."""

from __future__ import annotations

import io
from dataclasses import fields

import numpy as np
from matplotlib.figure import Figure

from ..errors import InputError, check_choice
from ..figures.letters import drawn_names, in_plain_letters
from ..figures.style import row_styles
from . import packs
from .lessons import ERRORS, DecisionState, LabState, NoiseState, ThresholdState, TimeMachineState, TrainingState

CLASS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#B8A800", "#999933", "#8B4513", "#332288")
KNOWS = {
    "own": ("the classifier says", "#1a1a1a"),
    "kmeans": ("groups by k-means", "#7766CC"),
    "probe": ("a fresh layer reads", "#332288"),
}


def still(state: LabState, block) -> tuple[bytes, str]:
    """(PNG, alt text) of a state. block(key): the data, as `Lab.data` gives them."""
    figure = Figure(figsize=(11, 4.2), dpi=100, layout="constrained")
    alt = _DRAW[type(state)](figure, state, lambda key: packs.unpack(block(key)))
    buffer = io.BytesIO()
    in_plain_letters(figure)
    figure.savefig(buffer, format="png")
    from PIL import Image

    small = io.BytesIO()
    Image.open(buffer).convert("RGB").quantize(128).save(small, format="png", optimize=True)
    return small.getvalue(), f"{state.title}: {alt} (The live lab needs a running kernel.)"


def _map(ax, points, y, said, over, classes, title: str) -> None:
    """Points by true class; a number where the label is wrong, faint where it does not count."""
    known, names = y < len(classes), drawn_names(classes)
    short = [name[:2] if name == whole else str(c) for c, (name, whole) in enumerate(zip(names, classes))]
    wrong = over & known & (said != y)  # what nobody knows is not wrong
    for part, alpha in ((over, 0.9), (~over, 0.25)):
        ax.scatter(*points[part & ~known].T, s=22, color="0.46", alpha=alpha, linewidth=0)
    for c in range(len(classes)):
        own, color = y == c, CLASS[c % len(CLASS)]
        ax.scatter(*points[own & ~over].T, s=22, color=color, alpha=0.25, linewidth=0)
        ax.scatter(*points[own & over & ~wrong].T, s=26, color=color, linewidth=0)
        ax.scatter(*points[own & wrong].T, s=90, facecolor="white", edgecolor=color)
        if own.any():
            middle = np.median(points[own], axis=0)
            ax.annotate(names[c], middle, fontsize=15, fontweight="bold", ha="center", color="0.15")
    for k in np.flatnonzero(wrong):
        ax.annotate(short[said[k]], points[k], fontsize=7, ha="center", va="center")
    ax.set_title(title, fontsize=13)
    ax.set_xticks([])
    ax.set_yticks([])


def _noise(figure, state: NoiseState, block) -> str:
    about, a = block(f"noise_{state.data}")
    if state.view == "gradient":
        return _gradient(figure, state, about, a)
    left, right = figure.subplots(1, 2)
    rates = [0.0, 0.2, 0.4, 0.6, 0.8]
    index = lambda rate: about["networks"].index(f"{state.kind if rate else 'uniform'} {rate} {state.taught}")
    m, N = index(round(state.rate, 1)), about["N"]
    _map(
        left,
        a["points"][m].astype(float),
        a["y"],
        a["predicted"][m],
        np.ones(N, bool),
        about["classes"],
        "Features; numbers: wrongly classified",
    )
    found = []
    for key, (name, color) in KNOWS.items():
        means = [a["values"][index(r), :, about["readouts"].index(key)].mean() / packs.SCALE for r in rates]
        right.plot(rates, means, color=color, marker="o", linewidth=3, label=name)
        found.append(f"{name} {means[rates.index(round(state.rate, 1))]:.0%}")
    right.axvline(state.rate, color="#00558c")
    right.set(ylim=(0, 1.02), xlabel="share of wrong labels", ylabel="right on test samples")
    right.legend()
    learns = next(f for f in fields(state) if f.name == "taught").metadata["control"].options[state.taught]
    how = f"{state.rate:.0%} wrong labels ({ERRORS[state.kind]}) train {learns}"
    return f"{how}: {', '.join(found)}; means of {len(about['seeds'])} networks."


def _gradient(figure, state: NoiseState, about: dict, a: dict) -> str:
    ax, rates, parts = figure.subplots(), about["rates"], []
    at = (about["moments"].index(state.step), about["taus"].index(state.tau), about["errors"].index(state.errors))
    for k, name in enumerate(about["layers"][:-1]):
        last = name == "classifier"
        k += last and state.grad_relu == "gate"  # the gated classifier has values of its own
        values = a["sweep"][at][:, k, about["quantities"].index(state.quantity)].astype(float) / 1000
        values[values < -30] = np.nan
        name += {"block": ", if it were not blocked", "gate": ", gated"}.get(state.grad_relu, "") * last
        look = dict(linewidth=4 if last else 2, color="black" if last else None)
        ax.plot(rates, values[:, 0], linestyle="--" if last and state.grad_relu == "block" else "-", label=name, **look)
        if last:
            ax.fill_between(rates, values[:, 1], values[:, 2], color="black", alpha=0.12, linewidth=0)
        parts.append(f"{name} {values[rates.index(round(state.share, 1)), 0]:+.2f}")
    ax.axhline(0, color="0.5")
    ax.axvline(state.share, color="#00558c")
    own = state.errors == "own"
    ax.set(xlabel="share of labels that are its own" if own else "share of wrong labels", ylabel=state.quantity)
    ax.legend()
    share = f"{state.share:.0%} of the labels its own" if own else f"{state.share:.0%} wrong, {ERRORS[state.errors]}"
    what = f"{state.quantity} of the pseudo-labels' gradient, {share}"
    return f"{what}: {', '.join(parts)}; mean of {about['draws']} draws."


def _time(figure, state: TimeMachineState, block) -> str:
    found = [block(f"run_{run}") for run in (state.run, state.beside) if run != "none"]
    (left, here), parts = found[0], []
    now = left["steps"][min(state.snapshot, len(left["steps"]) - 1)]
    for ax, (about, a) in zip(figure.subplots(1, len(found), squeeze=False)[0], found):
        s = max(0, int(np.searchsorted(about["steps"], now, side="right")) - 1)  # one clock, the left run's
        kind = state.map if state.map in about["maps"] else about["maps"][0]
        known, over = a["y"] < len(about["classes"]), a["mask"][s].astype(bool)
        wrong = over & known & (a["labels"][s] != a["y"])
        of = "" if known.all() else "whose true class is known "
        words = f"{about['name']}, step {about['steps'][s]}: {wrong.sum()} of {(over & known).sum()} labels over"
        words += f" τ = {about['tau']:g} {of}are wrong"
        points = a[kind][s].astype(float)
        _map(ax, points, a["y"], a["labels"][s], over, about["classes"], words.replace(" labels over", "\nlabels over"))
        parts.append(words)
        which = {one["samples"] for one in (about, left) if "samples" in one}  # shipped recordings do not say
        same = about["data"] == left["data"] and np.array_equal(a["y"], here["y"]) and len(which) < 2  # as the page decides it
        if 0 <= state.sample < about["N"] and same:
            ax.scatter(*points[state.sample], s=300, facecolor="none", edgecolor="black", linewidth=3)
    return f"{'; '.join(parts)}."


def _threshold(figure, state: ThresholdState, block) -> str:
    about, a = block(f"run_{state.run}")
    if (a["y"] >= len(about["classes"])).any():
        raise InputError(f"{about['name']}: the true classes of some samples are unknown, and this lab counts right labels.")
    check_choice("label", state.label, ["all", *about["classes"]])
    s, ax = min(state.snapshot, len(about["steps"]) - 1), figure.subplots()
    confidence, right = a["confidence"][s] / packs.SCALE, a["labels"][s] == a["y"]
    chosen = (
        a["labels"][s] == about["classes"].index(state.label)
        if state.label in about["classes"]
        else np.ones(about["N"], bool)
    )
    taus = np.linspace(0, 0.99, 100)
    over, n = confidence[chosen][None] >= taus[:, None], max(1, chosen.sum())
    rate, both = over.sum(axis=1) / n, (over & right[chosen]).sum(axis=1) / n
    with np.errstate(invalid="ignore"):
        curves = {
            "pass τ": (rate, "#B87700", "--"),
            "right among them": (both / rate, "#00558c", "-"),
            "both": (both, "black", ":"),
        }
    for name, (values, color, line) in curves.items():
        ax.plot(taus, values, line, color=color, linewidth=3, label=name)
    ax.axvline(state.tau, color="#00558c")
    ax.set(xlabel="threshold τ", ylabel="share", ylim=(0, 1.02))
    ax.legend()
    passed = confidence[chosen] >= state.tau
    when = f"{about['name']}, step {about['steps'][s]}"
    right = f", {right[chosen][passed].mean():.0%} of these labels are right" if passed.any() else ""
    share = f"{passed.mean():.0%}" if len(passed) else "none of 0 samples"
    return f"{when}: {share} pass τ = {state.tau:.2f}{right}."


def _decision(figure, state: DecisionState, block) -> str:
    about, a = block(state.key())
    t, parts = int(np.searchsorted(about["steps"], state.step, side="right")) - 1, []
    for m, (ax, name) in enumerate(zip(figure.subplots(1, len(about["names"]), squeeze=False)[0], about["names"])):
        labels, over = a["labels"][t, m], a["mask"][t, m].astype(bool)
        wrong = over & (labels != a["y"])
        if state.space == "features":
            points = a["z"][t, m] / 32767
        else:
            points = a["x"] / 1000
            colors = np.array([[int(c[i : i + 2], 16) for i in (1, 3, 5)] for c in CLASS])
            image = (255 - (255 - colors) * 0.3)[a["regions"][t, m].reshape(about["grid"], about["grid"])]
            ax.imshow(image.astype(np.uint8), origin="lower", extent=about["extent"], aspect="auto")
        ax.scatter(*points[~over].T, s=6, color="0.4")
        for c in range(about["classes"]):
            here = over & (labels == c)
            ax.scatter(*points[here].T, s=24, color=CLASS[c], edgecolor=np.where(wrong[here], "black", "white"))
            if state.space == "features":  # as directions, of equal length
                for centres, face, size in (("W", CLASS[c], 110), ("V", "none", 360)):
                    w = 0.8 * a[centres][t, m, c] / np.linalg.norm(a[centres][t, m, c])
                    ax.scatter(*w, s=size, marker="D", facecolor=face, edgecolor=CLASS[c], linewidth=2.5)
            else:
                ax.scatter(*(a["given"][a["given_y"] == c] / 1000).T, s=220, marker="*", color=CLASS[c], edgecolor="black")
        words = f"{name}, {(labels == a['y']).mean():.0%} called right"
        ax.set_title(words, fontsize=13)
        parts.append(f"{words}, {wrong.sum()} of {over.sum()} labels over τ wrong")
    key = "diamonds: centres, hollow: averaged" if state.space == "features" else "stars: labelled"
    figure.supxlabel(f"colour: pseudo-label; grey: below τ; dark rim: wrong; {key}", fontsize=12)
    return f"step {about['steps'][t]}: {'; '.join(parts)}."


def _training(figure, state: TrainingState, block) -> str:
    about, _ = block(state.key())
    ax, parts = figure.subplots(), []
    for history in about["histories"]:
        records = [r for r in history["records"] if r["step"] <= state.step]
        color, _, line = row_styles([history["name"]])[history["name"]]
        look = dict(color=color, linestyle=line, linewidth=3, label=history["name"])
        ax.plot([r["step"] for r in records], [r["accuracy"] for r in records], **look)
        parts += [f"{history['name']} {records[-1]['accuracy']:.1%}"] if records else []
    ax.set(xlabel="training step", ylabel="test accuracy", ylim=(0, 1.02), xlim=(0, state.steps))
    ax.legend()
    return f"step {state.step} of {state.steps}, test accuracy: {', '.join(parts) or 'not trained yet'}."


_DRAW = {
    NoiseState: _noise, TimeMachineState: _time, ThresholdState: _threshold, DecisionState: _decision, TrainingState: _training,
}  # fmt: skip
