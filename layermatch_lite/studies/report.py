"""Tables over several runs, and the demo's report; the statistics are in `stats`."""

from __future__ import annotations

import json
import statistics
import textwrap
from collections.abc import Iterable, Sequence
from os import PathLike

import pandas as pd

from ..errors import InputError, check_choice
from ..runs.compare import Outcome, as_record
from ..system import write_atomically
from . import stats
from .stats import spread

NAMES = {
    "supervised": "Supervised",
    "fixmatch": "FixMatch",
    "grad_relu": "Grad-ReLU",
    "avg_clustering": "Avg-Clustering",
    "layermatch": "LayerMatch",
    "freematch": "FreeMatch",
}
# What `core.readout` measures, in words.
READOUTS = {
    "own": "own classifier",
    "few": "fresh layer, few labels",
    "kmeans": "k-means, no labels",
    "probe": "fresh layer, all labels",
}


def by_method(outcomes: Iterable[Outcome]) -> dict[str, list[Outcome]]:
    grouped: dict[str, list[Outcome]] = {}
    for outcome in outcomes:
        grouped.setdefault(outcome.config.method, []).append(outcome)
    return grouped


def accuracy_table(outcomes: Sequence[Outcome]) -> pd.DataFrame:
    """One row per method: test accuracy with every seed, pseudo-label accuracy and mask rate late in training, seconds."""

    def mean(values: list) -> str:
        values = [v for v in values if v is not None]
        return f"{statistics.fmean(values):.0%}" if values else "–"

    rows = []
    for method, group in by_method(outcomes).items():
        scores = [o.accuracy for o in group]
        rows.append(
            {
                "method": NAMES[method],
                "test accuracy": f"{statistics.fmean(scores):.3f} ± {spread(scores):.3f}",
                "seed by seed": "  ".join(f"{s:.3f}" for s in scores),
                "labels right": mean([o.late("pseudo_label_accuracy") for o in group]),
                "mask rate": mean([o.late("mask_rate") for o in group]),
                "seconds": f"{statistics.fmean(o.seconds for o in group):.0f}",
            }
        )
    return pd.DataFrame(rows).set_index("method")


def mean_accuracy(outcomes: Sequence[Outcome]) -> dict[str, float]:
    """{method: mean test accuracy over its seeds}."""
    return {NAMES[method]: statistics.fmean(o.accuracy for o in group) for method, group in by_method(outcomes).items()}


def layer_benefits(outcomes: Iterable[Outcome]) -> pd.DataFrame:
    """Every measurement of the layer benefit as one tidy table: method, seed, step, layer, benefit, alignment, ..."""
    found = pd.DataFrame(
        [
            {"method": o.config.method, "seed": o.config.seed, "step": r["step"], "steps": o.config.steps, **row}
            for o in outcomes
            for r in o.history
            for row in r.get("layer_benefit", [])
        ]
    )
    return found.astype({name: float for name in found if found[name].isna().all()})  # where no true label is known


def early_and_late(benefits: pd.DataFrame) -> pd.DataFrame:
    """Per method, seed, layer and phase ("early": first quarter of training, "late": last), means over the measurements.

    Measurements in which no sample passed the threshold say nothing and are left out.
    """
    t = benefits[~benefits["empty"]]
    phase = pd.Series(pd.NA, t.index, dtype="object")
    phase[t["step"] <= 0.25 * t["steps"]] = "early"
    phase[t["step"] > 0.75 * t["steps"]] = "late"
    t = t.assign(phase=phase).dropna(subset="phase")
    keys = ["method", "phase", "layer", "seed"]
    return t.groupby(keys, sort=False)[["benefit", "alignment", "interference"]].mean().reset_index()


def layer_table(outcomes: Sequence[Outcome], phase: str, quantity: str = "alignment") -> pd.DataFrame:
    """Alignment or benefit "early" or "late" in training, mean ± spread over seeds: one row per layer, one column per method.

    Raises InputError where no run measured it.
    """
    benefits = layer_benefits(outcomes)
    if benefits.empty:
        raise InputError("No run has measured the layers; set probe_every, the steps between two measurements.")
    t = early_and_late(benefits)
    t = t[t["phase"] == phase]
    table = pd.DataFrame(
        "–", pd.Index(dict.fromkeys(benefits["layer"]), name=phase), [NAMES[m] for m in by_method(outcomes)]
    )
    for (layer, method), values in t.dropna(subset=quantity).groupby(["layer", "method"])[quantity]:
        table.loc[layer, NAMES[method]] = f"{values.mean():+.2f} ± {spread(list(values)):.2f}"
    return table  # "–" where no pseudo-label passed the threshold, or no true label is known


def readouts(outcomes: Sequence[Outcome]) -> dict[str, list[dict]]:
    """{"untrained" or method: one readout per seed, at the end of training}, without those that measured none."""
    rows = {"untrained": [r for o in outcomes for seen in o.seen for r in seen.get("untrained", ())]}
    for method, group in by_method(outcomes).items():
        rows[NAMES[method]] = [o.history[-1]["readout"] for o in group if "readout" in o.history[-1]]
    return {name: found for name, found in rows.items() if found}


def study_readouts(study: dict, setting: str, rows: Sequence[str]) -> dict[str, list[dict]]:
    """The same of a recorded study that watched the untrained networks of its supervised row, such as "main"."""
    ends = {row: [r["readout"] for r in study["runs"] if (r["setting"], r["row"]) == (setting, row)] for row in rows}
    untrained = watched(study, setting, "supervised", "untrained").drop(columns="seed").to_dict("records")
    return {"untrained": untrained} | {NAMES[row]: found for row, found in ends.items()}


def readout_table(rows: dict[str, list[dict]]) -> pd.DataFrame:
    """What the features know and what the classifier says: mean ± spread over seeds for each of `readouts`."""
    cell = lambda values: "–" if None in values else f"{statistics.fmean(values):.3f} ± {spread(values):.3f}"
    found = {name: {READOUTS[k]: cell([r[k] for r in seeds]) for k in READOUTS} for name, seeds in rows.items()}
    return pd.DataFrame.from_dict(found, orient="index").rename_axis("")


def seed_table(study: dict, setting: str) -> pd.DataFrame:
    """Test accuracy seed by seed, of an unfinished study, too ("–": not trained yet); then means over the trained seeds:
    pseudo-labels late in training, and readouts at the end, where they were measured."""
    ends = {"labels right": "pseudo_label_accuracy", "mask rate": "mask_rate"}
    ends |= {READOUTS[k]: f"readout/{k}" for k in READOUTS if k != "own"}
    rows = {}
    for row in study["plan"][setting]:
        found = stats.values(study, setting, row)
        cells = {f"seed {seed}": f"{found[seed]:.3f}" if seed in found else "–" for seed in study["seeds"]}
        means = {name: list(stats.values(study, setting, row, key).values()) for name, key in ends.items()}
        rows[NAMES.get(row, row)] = cells | {k: f"{statistics.fmean(v):.3f}" if v else "–" for k, v in means.items()}
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis("")


def paired_differences(outcomes: Sequence[Outcome], method: str, baseline: str) -> list[float]:
    """Accuracy of `method` minus that of `baseline`, seed by seed."""
    groups = by_method(outcomes)
    base = {o.config.seed: o.accuracy for o in groups[baseline]}
    return [o.accuracy - base[o.config.seed] for o in groups[method]]


def columns(rows: Iterable[dict]) -> dict[str, dict]:
    """Records as columns for a small JSON file: numbers to four digits, repeated values as levels and codes."""
    rows = list(rows)
    short = lambda v: v if not isinstance(v, float) else float(f"{v:.4g}") if v == v else None  # JSON knows no NaN
    packed = {}
    for key in rows[0]:
        values = [short(row[key]) for row in rows]
        levels = list(dict.fromkeys(values))
        few = 2 * len(levels) <= len(values)
        packed[key] = {"levels": levels, "codes": [levels.index(v) for v in values]} if few else {"values": values}
    return packed


def watched(study: dict, setting: str, row: str, name: str) -> pd.DataFrame:
    """What a study watched in the runs of one row, all seeds in one table; `name` is one of the watched tables."""
    unpack = lambda c: c["values"] if "values" in c else [c["levels"][code] for code in c["codes"]]
    check_choice("setting", setting, study["plan"])
    check_choice("row", row, study["plan"][setting])
    rows: dict[str, list] = {}
    for run in study["runs"]:
        if (run["setting"], run["row"]) == (setting, row):
            check_choice("table", name, run.get("tables", ()))
            packed = {key: unpack(column) for key, column in run["tables"][name].items()}
            packed["seed"] = [run["seed"]] * len(next(iter(packed.values())))
            for key, values in packed.items():
                rows.setdefault(key, []).extend(values)
    return pd.DataFrame(rows)


def per_seed(t: pd.DataFrame, quantity: str) -> list[float]:
    """Mean of a column for each seed, in the order of the seeds, without the rows in which nothing passed the threshold."""
    t = t[~t["empty"].astype(bool)] if "empty" in t else t
    return list(t.groupby("seed")[quantity].mean())


def late(t: pd.DataFrame, layer: str, quantity: str = "benefit") -> list[float]:
    """One number per seed: a quantity of the probe in one layer, mean over the last quarter of the run."""
    return per_seed(t[(t["step"] > 0.75 * t["step"].max()) & (t["layer"] == layer)], quantity)


# --- for `figures.dots_figure` ------------------------------------------------------------------------------------------


def gains(study: dict, rows: Sequence[str], over: str) -> dict[str, dict[str, dict[str, list[float]]]]:
    """{data set: {row: {labels: its lead in accuracy over the row `over`, seed by seed}}}, for settings such as "digits, 10
    labels". Raises InputError for a row that the study has not.
    """
    found: dict[str, dict[str, dict[str, list[float]]]] = {}
    for setting in study["plan"]:
        dataset, labels = setting.removesuffix(" labels").split(", ")
        for row in (over, *rows):
            check_choice("row", row, study["plan"][setting])
        for row in rows:
            at = found.setdefault(dataset, {}).setdefault(NAMES.get(row, row), {})
            at[labels] = stats.differences(study, setting, row, over)
    return found


def late_by_layer(t: pd.DataFrame, quantities: dict[str, str]) -> dict[str, dict[str, list[float]]]:
    """{name: {layer: one number per seed, late in training}} of a probe's table; quantities: {name: column}."""
    layers = list(dict.fromkeys(t["layer"]))
    return {name: {layer: late(t, layer, column) for layer in layers} for name, column in quantities.items()}


def means(found):
    """The same nesting with a mean in place of every list of numbers; of a list of dictionaries the mean of each key."""
    if isinstance(found, dict):
        return {key: means(inner) for key, inner in found.items()}
    if isinstance(found[0], dict):
        return {key: statistics.fmean(one[key] for one in found) for key in found[0]}
    return statistics.fmean(found)


def at_end(study: dict, setting: str, rows: Sequence[str], column: str) -> dict[str, list[float]]:
    """{row: one value per seed, at the last step} of what a study watched during training."""
    tables = {row: watched(study, setting, row, "training") for row in rows}
    return {NAMES.get(row, row): list(t[t["step"] == t["step"].max()][column]) for row, t in tables.items()}


# --- the demo's report -----------------------------------------------------------------------------------------------


def what_seeds_say(outcomes: Sequence[Outcome]) -> str:
    """The paired difference LayerMatch - FixMatch, and what so few seeds can and cannot tell."""
    diffs = paired_differences(outcomes, "layermatch", "fixmatch")
    text = f"LayerMatch - FixMatch, seed by seed: {', '.join(f'{d:+.3f}' for d in diffs)}; mean {sum(diffs) / len(diffs):+.3f}."
    if len(diffs) < 10:
        text += f" {len(diffs)} seed{'s' * (len(diffs) > 1)} cannot rank two methods; the recorded study has twenty."
    return text


def as_text(outcomes: Sequence[Outcome]) -> str:
    """The tables as text, with how to read them."""
    config, layers = outcomes[0].config, layer_table(outcomes, "late")
    unknown = (layers == "–").all(axis=None)  # nobody knows the true labels, or nothing passed the threshold
    return "\n".join(
        [
            f"\n{config.dataset}, {outcomes[0].labels} labels, {config.steps} steps: accuracy on the test set, and the",
            "pseudo-labels over the threshold in the last quarter of training.\n",
            accuracy_table(outcomes).to_string(),
            "\n" + textwrap.fill(what_seeds_say(outcomes), 79),
            "\nWhat the features know, and what the classifier says: test accuracy of the",
            "network's own classifier, and of others that read the same features.\n",
            readout_table(readouts(outcomes)).to_string(),
            "\nWhat pseudo-labels do to each layer, late in training: cosine between their",
            "gradient and that of all true labels (1: the same direction, 0: no use).\n",
            "Unknown here." if unknown else layers.to_string(),
            "",
        ]
    )


def write(outcomes: Sequence[Outcome], path: str | PathLike, alt: str = "") -> None:
    """Write every number behind the demo's figure to a JSON file, with the figure's alt text once there is one."""
    content = json.dumps({"alt": alt, "runs": [as_record(o) for o in outcomes]}, indent=1)
    write_atomically(path, lambda f: f.write(content.encode()))
