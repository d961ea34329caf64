"""The statistics of this package, all of them: what a handful of paired seeds can and cannot tell.

Everything rests on paired differences: two methods run with the same seed share labels, initial weights and batches, so the luck
of the draw cancels in their difference. A difference gets an interval (`interval`), a size (`effect_size`) and a p-value
(`p_value`); differences that answer one question together are corrected for their number (`holm`).
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from ..errors import InputError, check_range, takes

RESAMPLES = 10_000


@takes(values="numbers")
def interval(values: Sequence[float], level: float = 0.95) -> tuple[float, float]:
    """A bootstrap interval of the mean, for at least two values; below six Student's t.

    The percentile interval, widened for small samples: of 10,000 means of resamples it takes not the quantiles alpha/2 and
    1 - alpha/2, but those that give Student's t its width on normal data: Phi(-sqrt(n / (n - 1)) t). (Hesterberg 2015, "What
    teachers should know about the bootstrap", section 5; the plain one covers less than it says with ten values.) The
    resamples come from a fixed stream, so the same values give the same interval.

    Raises InputError for fewer than two values: one has no spread.
    """
    from scipy.stats import norm, t

    check_range("level", level, 0, 1, open_low=True, open_high=True)
    x, n = np.asarray(values, float), len(values)
    if n < 2:
        raise InputError(f"{n} value{'s' * (n != 1)} can have no interval; give the results of at least two seeds.")
    far = t.ppf((1 + level) / 2, n - 1)
    if n < 6:
        half = far * x.std(ddof=1) / n**0.5
        return float(x.mean() - half), float(x.mean() + half)
    means = np.random.default_rng(0).choice(x, (RESAMPLES, n)).mean(axis=1)
    alpha = norm.cdf(-((n / (n - 1)) ** 0.5) * far)
    low, high = np.quantile(means, [alpha, 1 - alpha])
    return float(low), float(high)


@takes(values="numbers")
def spread(values: Sequence[float]) -> float:
    """Standard deviation over seeds; 0 for a single one."""
    return statistics.stdev(values) if len(values) > 1 else 0.0


@takes(differences="numbers")
def effect_size(differences: Sequence[float]) -> float:
    """Paired differences in units of their own spread: Cohen's d_z, with Hedges' factor 1 - 3 / (4n - 5) for small samples.

    0 where all are 0; infinite where all are equal and not 0.
    """
    n = len(differences)
    if n < 2:
        raise InputError(
            f"{n} difference{'s' * (n != 1)} can have no effect size; give the results of at least two seeds."
        )
    mean = statistics.fmean(differences)
    if mean == 0 or spread(differences) == 0:
        return float(np.sign(mean) * np.inf) if mean else 0.0
    return mean / spread(differences) * (1 - 3 / (4 * n - 5))


def all_signs(n: int) -> np.ndarray:
    """(2^n, n): every way to give n differences the sign +1 or -1. Raises InputError above 16: no memory holds them all."""
    check_range("n", n, 1, 16, whole=True)
    return 1 - 2 * (np.arange(2**n)[:, None] >> np.arange(n) & 1)


@takes(differences="numbers")
def p_value(differences: Sequence[float]) -> float:
    """How often luck alone would make a mean at least as large, up or down: if each seed's difference had its sign by chance.

    The sign-flip permutation test, exact up to 16 seeds; n seeds cannot go below 2 / 2^n.
    """
    d, n = np.asarray(differences, float), len(differences)
    if n < 2:
        raise InputError(f"{n} difference{'s' * (n != 1)} can have no p-value; give the results of at least two seeds.")
    if n <= 16:
        signs = all_signs(n)
    else:
        signs = np.random.default_rng(0).choice([-1, 1], (2**16, n))
        signs[0] = 1  # what was seen is one of the possibilities
    size = np.abs(d)
    if not size.any():
        return 1.0
    # Results are recorded to six digits, so sums that are equal may differ by roundings: far less than a difference itself.
    alike = 0.01 * size[size > 1e-9 * size.max()].min()
    return float((np.abs(signs @ d) >= abs(d.sum()) - alike).mean())


@takes(p="numbers")
def holm(p: Sequence[float]) -> list[float]:
    """p-values corrected for their number (Holm 1979): the k-th smallest of m times m + 1 - k, never falling, at most 1."""
    for one in p:
        check_range("p", one, 0, 1)
    corrected, worst = [0.0] * len(p), 0.0
    for k, i in enumerate(sorted(range(len(p)), key=p.__getitem__)):
        worst = max(worst, min(1.0, p[i] * (len(p) - k)))
        corrected[i] = worst
    return corrected


@takes(values="numbers")
def effect(values: Sequence[float]) -> str:
    """A mean with its 95 % interval and the seeds on its side: "+0.121 [+0.068, +0.174], 10 of 10 above 0"."""
    (low, high), mean = interval(values), statistics.fmean(values)
    side = sum(v > 0 for v in values) if mean >= 0 else sum(v < 0 for v in values)
    return f"{mean:+.3f} [{low:+.3f}, {high:+.3f}], {side} of {len(values)} {'above' if mean >= 0 else 'below'} 0"


@takes(values="numbers")
def verdict(values: Sequence[float], above: str, below: str, open_question: str) -> str:
    """The sentence that the 95 % interval allows: `above` 0, `below` 0, or neither."""
    low, high = interval(values)
    return above if low > 0 else below if high < 0 else open_question


# --- studies ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Comparison:
    """One paired difference of a study, row minus other row."""

    setting: str
    row: str
    other: str
    differences: list[float]  # one per seed that both rows have
    p: float
    corrected: float  # p, corrected for the number of comparisons in its family

    @property
    def mean(self) -> float:
        return statistics.fmean(self.differences)

    @property
    def interval(self) -> tuple[float, float]:
        return interval(self.differences)

    @property
    def sign(self) -> int:
        """+1 or -1 where the corrected p is below 0.05, else 0: not decided."""
        return int(np.sign(self.mean)) if self.corrected < 0.05 else 0


def values(study: dict, setting: str, row: str, key: str = "accuracy") -> dict[int, float]:
    """{seed: value} of one row, without seeds that have none. A key may lead inside: "late_benefit/classifier/alignment"."""

    def look(found, names: list[str]):
        return look(found.get(names[0]), names[1:]) if names and found is not None else found

    mine = {r["seed"]: look(r, key.split("/")) for r in study["runs"] if (r["setting"], r["row"]) == (setting, row)}
    return {seed: v for seed, v in mine.items() if v is not None}


def differences(study: dict, setting: str, row: str, other: str, key: str = "accuracy") -> list[float]:
    """Row minus other row for each seed that both have, in the order of the seeds.

    Raises InputError where there are fewer than two such seeds.
    """
    a, b = values(study, setting, row, key), values(study, setting, other, key)
    seeds = [seed for seed in study["seeds"] if seed in a and seed in b]
    if len(seeds) < 2:
        raise InputError(
            f"{row!r} and {other!r} in {setting!r} share fewer than two seeds ({seeds}), and an interval needs two at least; "
            f"carry out more of the study {study['name']!r}."
        )
    return [a[seed] - b[seed] for seed in seeds]


def family(study: dict, question: str, key: str = "accuracy") -> list[Comparison]:
    """The comparisons that the study planned for one question, corrected for their number."""
    planned = study["families"][question]
    found = [differences(study, *comparison, key) for comparison in planned]
    p = [p_value(d) for d in found]
    return [Comparison(*c, d, one, corrected) for c, d, one, corrected in zip(planned, found, p, holm(p))]


def decide(panels: dict[str, dict[str, list[float]]]) -> dict[str, dict[str, int]]:
    """For {panel: {row: differences}}, compared after the fact: +1, -1 or 0 as in `Comparison.sign`, all corrected together."""
    every = [(panel, row, d) for panel, rows in panels.items() for row, d in rows.items()]
    corrected = holm([p_value(d) for *_, d in every])
    signs: dict[str, dict[str, int]] = {}
    for (panel, row, d), p in zip(every, corrected):
        signs.setdefault(panel, {})[row] = int(np.sign(statistics.fmean(d))) if p < 0.05 else 0
    return signs


def outcome(comparisons: Sequence[Comparison]) -> str:
    """Where a family of comparisons is decided after correction, in words: "above 0 in 1 of 8 (digits, 10 labels), ..."."""
    parts, several = [], len({(c.row, c.other) for c in comparisons}) > 1
    for sign, name in ((1, "above 0"), (-1, "below 0")):
        if where := [c.setting + f": {c.row} − {c.other}" * several for c in comparisons if c.sign == sign]:
            parts.append(f"{name} in {len(where)} of {len(comparisons)} ({'; '.join(where)})")
    undecided = sum(c.sign == 0 for c in comparisons)
    return ", ".join([*parts, f"undecided in {undecided} of {len(comparisons)}"] if undecided else parts)


def layer_gaps(study: dict, row: str = "fixmatch") -> dict[str, dict[str, list[float]]]:
    """{quantity: {setting: differences}}: alignment and benefit late in training, classifier minus first convolution."""
    end = lambda setting, layer, q: values(study, setting, row, f"late_benefit/{layer}/{q}")
    gaps: dict[str, dict[str, list[float]]] = {}
    for q in ("alignment", "benefit"):
        for setting in study["plan"]:
            top, bottom = end(setting, "classifier", q), end(setting, "conv 1", q)
            gaps.setdefault(q, {})[setting] = [top[seed] - bottom[seed] for seed in top if seed in bottom]
    return gaps


def short(p: float) -> str:
    """A p-value to three decimals: "0.031", "<0.001"."""
    return f"{p:.3f}" if p >= 0.001 else "<0.001"


def _row(differences: Sequence[float], p: float, corrected: float) -> dict[str, str]:
    low, high = interval(differences)
    return {
        "mean [95 %]": f"{statistics.fmean(differences):+.3f} [{low:+.3f}, {high:+.3f}]",
        "effect size d_z": f"{effect_size(differences):+.1f}",
        "seeds above 0": f"{sum(v > 0 for v in differences)} of {len(differences)}",
        "p": short(p),
        "corrected": short(corrected),
    }


def comparison_table(study: dict, question: str, key: str = "accuracy") -> pd.DataFrame:
    """One row per planned comparison: mean [95 %], effect size, seeds above 0, p and corrected p."""
    rows = [
        {"setting": c.setting, "difference": f"{c.row} − {c.other}", **_row(c.differences, c.p, c.corrected)}
        for c in family(study, question, key)
    ]
    return pd.DataFrame(rows).set_index("setting")


def verdict_table(families: dict[str, Sequence[Comparison]]) -> pd.DataFrame:
    """One row per claim: the mean lead in points, and in how many settings it is decided for and against it."""
    rows = {
        claim: {
            "mean lead": f"{100 * statistics.fmean(c.mean for c in comparisons):+.1f} points",
            "decided for": f"{sum(c.sign == 1 for c in comparisons)} of {len(comparisons)}",
            "against": f"{sum(c.sign == -1 for c in comparisons)} of {len(comparisons)}",
        }
        for claim, comparisons in families.items()
    }
    return pd.DataFrame(rows).T


def panel_table(panels: dict[str, dict[str, list[float]]]) -> pd.DataFrame:
    """The same columns for {panel: {row: differences}}, compared after the fact and corrected together, as in `decide`."""
    every = [(panel, row, d) for panel, rows in panels.items() for row, d in rows.items()]
    p = [p_value(d) for *_, d in every]
    rows = [
        {"": panel, "setting": row, **_row(d, one, corrected)} for (panel, row, d), one, corrected in zip(every, p, holm(p))
    ]
    return pd.DataFrame(rows).set_index("")


def row_table(study: dict, setting: str) -> pd.DataFrame:
    """One row per row of the plan: final and median accuracy with intervals, spread, and the pseudo-labels late in training."""

    def mean(row: str, key: str) -> str:
        v = list(values(study, setting, row, key).values())
        return f"{statistics.fmean(v):.0%}" if v else "–"

    def with_interval(row: str, key: str) -> str:
        v = list(values(study, setting, row, key).values())
        return "{:.3f} [{:.3f}, {:.3f}]".format(statistics.fmean(v), *interval(v)) if v else "–"

    t = pd.DataFrame(
        [
            {
                "row": row,
                "test accuracy [95 %]": with_interval(row, "accuracy"),
                "median of the last 20 [95 %]": with_interval(row, "median_of_last_20"),
                "spread": f"{spread(list(values(study, setting, row).values())):.3f}",
                "labels right": mean(row, "pseudo_label_accuracy"),
                "mask rate": mean(row, "mask_rate"),
            }
            for row in study["plan"][setting]
        ]
    ).set_index("row")
    return t.loc[:, (t != "–").any()]  # without what no row has measured


def tables(study: dict) -> str:
    """Every table of a study as text in Markdown: its comparisons, then its rows setting by setting."""
    parts = [f"**{study['question']}** (`{study['name']}`, {len(study['seeds'])} seeds)"]
    parts += [f"{question}:\n\n{markdown(comparison_table(study, question))}" for question in study["families"]]
    parts += [f"{setting}:\n\n{markdown(row_table(study, setting))}" for setting in study["plan"]]
    return "\n\n".join(parts)


def markdown(t: pd.DataFrame) -> str:
    rows = [
        [t.index.name or "", *t.columns],
        ["---"] * (1 + len(t.columns)),
        *([i, *v] for i, v in zip(t.index, t.to_numpy())),
    ]
    return "\n".join("| " + " | ".join(map(str, row)) + " |" for row in rows)
