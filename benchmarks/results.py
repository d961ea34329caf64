"""Write docs/results.md and the README's numbers from the recorded results: `python benchmarks/results.py` (or `make results`).

    python benchmarks/results.py --check    write nothing; exit status 1 where a file differs from what would be written

README.md holds numbers and tables between markers, which this script fills:

    <!-- number: digits10_fixmatch -->0.805<!-- end -->      any name in NUMBERS
    <!-- table: layermatch_fixmatch -->...<!-- end -->       any name in TABLES
"""

from __future__ import annotations

import argparse
import json
import re
import statistics
import sys
from functools import cache
from pathlib import Path

import cifar
import cifar_recipe
import labs
import recipes
import speed
import studies

import figures
from layermatch_lite import load_study
from layermatch_lite.studies import stats
from layermatch_lite.studies.files import RECORDED, load
from layermatch_lite.studies.report import READOUTS, late, readout_table, seed_table, study_readouts, watched
from layermatch_lite.studies.stats import comparison_table, differences, family, markdown, panel_table
from layermatch_lite.system import write_atomically

ROOT = Path(__file__).resolve().parents[1]
PAGE, README = ROOT / "docs" / "results.md", ROOT / "README.md"
DIGITS10 = "digits, 10 labels"

study = cache(load_study)


# --- the README's numbers --------------------------------------------------------------------------------------------


def mean(name: str, row: str, setting: str = DIGITS10) -> str:
    return f"{statistics.fmean(stats.values(study(name), setting, row).values()):.3f}"


def decided(name: str, question: str, sign: int) -> set[str]:
    """The settings in which a question is decided after correction: +1 above 0, -1 below 0."""
    return {c.setting for c in family(study(name), question) if c.sign == sign}


def lower_in_the_classifier(quantity: str) -> int:
    signs = stats.decide(stats.layer_gaps(study("main")))[quantity]
    return list(signs.values()).count(-1)


def known(readout: str, setting: str = "pair 0.6", taught: str = "all") -> str:
    """Per cent."""
    return f"{100 * statistics.fmean(stats.values(study('known_noise'), setting, taught, f'readout/{readout}').values()):.0f}"


LEAD = ("main", "LayerMatch against FixMatch")
NUMBERS = {
    "settings_total": lambda: len(study("main")["plan"]),
    "fixmatch_settings": lambda: len(decided("main", "pseudo-labels at all", 1)),
    "layermatch_settings": lambda: len(decided(*LEAD, 1)),
    "freematch_settings": lambda: len(decided("main", "FreeMatch against FixMatch", 1)),
    "alignment_settings": lambda: lower_in_the_classifier("alignment"),
    "known_own": lambda: known("own"),
    "known_kmeans": lambda: known("kmeans"),
    **{f"digits10_{m}": lambda m=m: mean("main", m) for m in ("supervised", "fixmatch", "layermatch", "freematch")},
}
TABLES = {
    "layermatch_fixmatch": lambda: markdown(comparison_table(study(LEAD[0]), LEAD[1])),
    "freematch_fixmatch": lambda: markdown(comparison_table(study("main"), "FreeMatch against FixMatch")),
}


def fill(text: str) -> str:
    """A text with its marked numbers and tables as recorded; KeyError for a name that is not in NUMBERS or TABLES."""

    def value(found: re.Match) -> str:
        kind, name = found["kind"], found["name"]
        new = f"\n\n{TABLES[name]()}\n\n" if kind == "table" else str(NUMBERS[name]())
        return f"<!-- {kind}: {name} -->{new}<!-- end -->"

    return re.sub(r"<!-- (?P<kind>number|table): (?P<name>\w+) -->.*?<!-- end -->", value, text, flags=re.DOTALL)


# --- the page --------------------------------------------------------------------------------------------------------

START = """# Results

`make results` writes this page from the recorded results: the studies that come with the package
(`load_study("main")` and so on) and the measurements in `benchmarks/results/`. Do not edit it by hand.

**How to read it.** Every study trains its rows with paired seeds: runs of one seed share labels, initial weights and batches.
Rows, seeds and comparisons were fixed before the first run, except where a section says otherwise. A comparison is *decided* when
its sign-flip p-value, corrected for all comparisons that answer the same question (Holm), is below 0.05; nothing is corrected
between questions. Intervals are bootstrap percentiles over seeds, widened for small samples (Hesterberg 2015). The effect size
d_z is the mean difference in units of the differences' own standard deviation. Accuracies are those of the EMA model on the
test set.

**What it is worth.** Small data sets, small networks, short runs and our own formulation: this neither confirms nor refutes the
paper's figures. FixMatch here is not the paper's recipe: its threshold was chosen on validation samples, and labelled samples
are seen in strong views too; the preset `paper` follows the paper.

**The rows.** *every label* trains supervised on all labels, the upper bound. *supervised* sees the few labels only, for as many
steps; *supervised, FixMatch's views* also in as many strong views. *fixmatch at layermatch's mask rate* has the threshold that
gave it LayerMatch's mask rate on validation samples. In the studies with one recipe for every method, *smaller weight in the
classifier* is FixMatch whose classifier learns less from pseudo-labels, and *layermatch, rescaled centers* gives the averaged
centres the length of the current ones."""

ONE = "Every method has the same recipe here, the one that validation chose for FixMatch."
NOTES = {
    "main": "Every method has the recipe that its own validation accuracy chose from five candidates "
    "([below](#how-were-the-recipes-chosen)). Learning rate and views are shared and were chosen by FixMatch, which favours "
    "FixMatch if anything.",
    "known_noise": "Digits, one label per class. The pool's true labels, corrupted at a known rate, serve as pseudo-labels, all "
    "of them count, and they train every layer, the features alone or the classifier alone. *uniform* and *pair* errors are the "
    "same throughout; *confusion* and *low_confidence* follow the network as it learns, so they differ between rows.",
    "known_noise_mnist1d": "The same on MNIST-1D, one label per class; planned after the digits were seen, for the noise lab.",
    "noise": f"{ONE} Pseudo-labels corrupted on purpose: *uniform* errors scatter, *pair* errors send a class into one other "
    "class, *confusion* follows the network's own errors.",
    "depth": f"{ONE} Pseudo-labels are kept from all layers upwards of one (*from*) or from one alone (*only*).",
    "sensitivity": f"{ONE} Each knob is turned down and up for both methods alike. The momentum m acts in so short a run only "
    "below the end of its warm-up; at m = 0 LayerMatch is Grad-ReLU alone, so that is what it is compared with.",
    "layers": "What is compared are layers of the same runs, chosen after the runs; each table is corrected as a whole.",
    "centers": f"{ONE} Only the last row is compared.",
}
PICTURES = {
    "main": ["study"],
    "known_noise": ["noise_maps", "known_noise", "taught"],
    "depth": ["depth"],
    "layers": ["benefit_over_training", "benefit_over_noise", "two_by_two"],
    "centers": ["centre_drift", "cluster_quality"],
}


def gaps(name: str) -> str:
    panels = {f"{q}, classifier − conv 1": of for q, of in stats.layer_gaps(study(name)).items()}
    when = "planned" if name == "main" else "compared after the runs"
    return f"Late in FixMatch ({when}):\n\n{markdown(panel_table(panels))}"


def inside_layers() -> str:
    s = study("layers")
    of = lambda setting, name: watched(s, setting, "fixmatch", name)
    layers = list(dict.fromkeys(layer for setting in s["plan"] for layer in of(setting, "benefit")["layer"]))
    layers.append(layers.pop(layers.index("classifier")))
    lines = ["| late in FixMatch, mean | " + " | ".join(layers) + " |", "|---" * (len(layers) + 1) + "|"]
    for setting in s["plan"]:
        t = of(setting, "benefit")
        for q in ("benefit", "alignment"):
            values = [late(t, layer, q) for layer in layers]
            cells = [f"{statistics.fmean(v):+.2f}" if v else "–" for v in values]
            lines.append(f"| {setting}, {q} | {' | '.join(cells)} |")

    def at_half(setting: str, kind: str) -> list[float]:
        t = of(setting, "under_noise").query("rate == 0.5 and layer == 'classifier' and kind == @kind")
        return list(t.sort_values("seed")["benefit"])

    pairs = {setting: zip(at_half(setting, "confusion"), at_half(setting, "uniform")) for setting in s["plan"]}
    differ = {"confusion − uniform": {setting: [a - b for a, b in of] for setting, of in pairs.items()}}
    known = "The classifier's layer benefit at the end, if half of the labels over τ were errors of a known kind:"
    return "\n\n".join(["\n".join(lines), gaps("layers"), f"{known}\n\n{markdown(panel_table(differ))}"])


def inside_centers() -> str:
    s = study("centers")

    def end(setting: str, row: str, key: str):
        t = watched(s, setting, row, "training")
        return t[t["step"] == t["step"].max()].set_index("seed")[key]

    nmi = {
        f"{row} − fixmatch": {x: list(end(x, row, "nmi") - end(x, "fixmatch", "nmi")) for x in s["plan"]}
        for row in ("supervised", "avg_clustering", "layermatch", "labels from centers")
    }
    moved = []
    for setting in s["plan"]:
        t = watched(s, setting, "layermatch", "training")
        ratio = (t["drift_W_bar"] / t["drift_W"]).groupby(t["seed"]).mean()
        moved.append(f"{ratio.mean():.2f} times as far ({setting}; largest of {len(ratio)} seeds {ratio.max():.2f})")
    return (
        f"k-means NMI of the test features at the end (compared after the runs):\n\n{markdown(panel_table(nmi))}\n\n"
        f"In LayerMatch the averaged centres move, per step and relative to the current ones, {' and '.join(moved)}."
    )


def readouts_of_main() -> str:
    """What the features know and what the classifier says, in every setting."""
    s = study("main")
    parts = []
    for setting in s["plan"]:
        parts.append(f"{setting}:\n\n{markdown(readout_table(study_readouts(s, setting, studies.METHODS)))}")
    lost = {
        f"{readout}, layermatch − fixmatch": {
            setting: differences(s, setting, "layermatch", "fixmatch", f"readout/{readout}") for setting in s["plan"]
        }
        for readout in ("probe", "kmeans")
    }
    return "\n\n".join(
        [
            "### What the features know, and what the classifier says",
            "Test accuracy of the network's own classifier, and of others that read the same features (mean ± standard deviation "
            "over seeds).",
            *parts,
            "Do LayerMatch's features know more (compared after the runs)?",
            markdown(panel_table(lost)),
        ]
    )


def inside_known_noise(name: str = "known_noise") -> str:
    s = study(name)
    header = ["| labels wrong | taught | " + " | ".join(READOUTS.values()) + " |", "|---" * (len(READOUTS) + 2) + "|"]
    cell = lambda setting, t, k: f"{statistics.fmean(stats.values(s, setting, t, f'readout/{k}').values()):.2f}"
    untrained, few = study_readouts(s, "no pseudo-labels", ("supervised",)).values()
    mean_of = lambda rows: " | ".join(f"{statistics.fmean(r[k] for r in rows):.2f}" for k in READOUTS)
    controls = {"untrained network": untrained, "supervised, labelled samples alone": few}
    header += [f"| {name} | – | {mean_of(rows)} |" for name, rows in controls.items()]
    lines = [
        f"| {setting} | {t} | " + " | ".join(cell(setting, t, k) for k in READOUTS) + " |"
        for setting, rows in s["plan"].items()
        for t in rows
        if setting == "uniform 0.0" or not setting.endswith((" 0.0", "labels"))
    ]
    return "Mean over seeds of each readout:\n\n" + "\n".join(header + lines)


MORE = {
    "main": lambda: f"### Where\n\n{gaps('main')}\n\n{readouts_of_main()}",
    "known_noise": inside_known_noise,
    "known_noise_mnist1d": lambda: inside_known_noise("known_noise_mnist1d"),
    "layers": inside_layers,
    "centers": inside_centers,
}
ORDER = ("main", "known_noise", "known_noise_mnist1d", "depth", "noise", "sensitivity", "layers", "centers")


def section(name: str) -> str:
    """One study: its question, its comparisons, what else was compared, its rows."""
    s = study(name)
    seeds, where = s["seeds"], "torch {torch} on {device_name}".format(**s["environment"])
    parts = [f"## {s['question']}", f"`{name}`: {len(seeds)} seeds, {seeds[0]} to {seeds[-1]}; {len(s['runs'])} runs; {where}."]
    parts.append(NOTES[name])
    for question in s["families"]:
        found = f"After correction: {stats.outcome(family(s, question))}."
        parts += [f"### {question[0].upper()}{question[1:]}", found, markdown(comparison_table(s, question))]
    if name in MORE:
        parts.append(MORE[name]())
    for picture in PICTURES.get(name, ()):
        parts.append(f"![{figures.MAKE[picture]()[1]}](../figures/{picture}.png)")
    rows = "\n\n".join(f"{setting}:\n\n{markdown(stats.row_table(s, setting))}" for setting in s["plan"])
    return "\n\n".join([*parts, f"<details><summary>Every row of <code>{name}</code></summary>\n\n{rows}\n\n</details>"])


def measured(name: str) -> dict:
    return json.loads((ROOT / "benchmarks" / "results" / f"{name}.json").read_text(encoding="utf-8"))


def cifar10() -> list[str]:
    """The study of CIFAR-10 as far as it has come: three seeds give no verdicts, so every one of them is shown."""
    s = load(RECORDED / "cifar10.json")
    where = "{device}, {threads} thread a run, torch {torch}".format(**s["environment"])
    planned = len(s["seeds"]) * sum(map(len, s["plan"].values()))
    parts = [
        "## What is reached on CIFAR-10, on two cores?",
        f"`cifar10`: {len(s['runs'])} of {planned} runs so far, on a JPEG copy of CIFAR-10; {where}. The network is small and "
        "the runs are short: these are not the published protocol's results. Test accuracy of the EMA model at the end. The "
        "network of *untrained* has taken one step at a vanishing learning rate. Notebook 06 replays the first seed.",
    ]
    for setting in s["plan"]:
        parts += [f"{setting}:", markdown(seed_table(s, setting))]
    for picture in ("cifar10", "cifar10_umap"):
        parts.append(f"![{figures.MAKE[picture]()[1]}](../figures/{picture}.png)")
    chosen = "The methods' recipes were chosen by validation accuracy after 600 steps (`python benchmarks/cifar_recipe.py`):"
    return [*parts, chosen, cifar_recipe.show(measured("cifar_recipe"))]


def page() -> str:
    """The whole of docs/results.md."""
    return "\n\n".join(
        [
            START,
            *map(section, ORDER),
            "## How were the recipes chosen?",
            "By validation accuracy on other seeds, never on test samples (`python benchmarks/recipes.py`). Learning rate and "
            "share of strong labelled views: once per data set, by FixMatch. Then every method's own setting, by its own "
            "accuracy. The chosen candidate is bold.",
            recipes.show(measured("recipes")),
            "## How fast is it?",
            speed.show(measured("speed")),
            "One measurement of the layer benefit is one forward and six backward passes, so it costs more where the "
            "backward pass dominates, as in a deep network.",
            "## How fast are the labs?",
            labs.show(measured("labs")),
            "## How fast is it at CIFAR-10's size?",
            "On a CPU (`python benchmarks/cifar.py`); nothing has been measured on a GPU yet ([how to](gpu.md)). The baseline is "
            "per-image PIL in DataLoader workers, `benchmarks/baseline_dataloader.py`.",
            cifar.show(measured("cifar_cpu")),
            *cifar10(),
        ]
    ) + "\n"


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="write nothing; exit status 1 where a file differs")
    check = parser.parse_args(arguments).check
    differs = []
    for path, new in ((PAGE, page()), (README, fill(README.read_text(encoding="utf-8")))):
        if not path.exists() or path.read_text(encoding="utf-8") != new:
            differs.append(str(path.relative_to(ROOT)))
            if not check:
                write_atomically(path, lambda f: f.write(new.encode()))
    print(f"{'differ' if check else 'written'}: {', '.join(differs) or 'none'}")
    return int(check and bool(differs))


if __name__ == "__main__":
    sys.exit(main())
