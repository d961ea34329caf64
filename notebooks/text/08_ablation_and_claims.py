# %% [markdown]
# # 08 The claims, judged
#
# A paper says: 10.38 % over the baseline, 2.44 % over the state of the art. How would you find out what a method is worth?
# Afterwards you can
# - plan a comparison that can disappoint you,
# - read an interval, a p-value and its correction, and compute each by hand,
# - say which of LayerMatch's claims hold at this scale.
#
# About 55 minutes. All studies but the last are recorded; every number is in [results](../docs/results.md).

# %%
import tempfile
from pathlib import Path

import numpy as np
import pandas as pd

from layermatch_lite import TrainConfig, figures, load_study
from layermatch_lite.course import check, hint, predict_value, takeaways
from layermatch_lite.studies import stats
from layermatch_lite.studies.files import load
from layermatch_lite.studies.report import study_readouts
from layermatch_lite.studies.study import Study, carry_out

main = load_study("main")

# %% [markdown]
# ## What was compared? (4 minutes)
#
# Eight settings, twenty seeds, written down before the first run. Beside baseline and method stand rows that could spoil
# the story: *supervised* (the labels alone, as many steps), *every label* (what could be reached), *FixMatch at
# LayerMatch's mask rate* (does LayerMatch win only because it lets more labels through?), and *FreeMatch* (which chooses
# samples instead of layers).
#
# **Which threshold did each method get?** Its own, chosen on validation data with equal effort. LayerMatch's is mostly the
# lowest.

# %%
methods = ("fixmatch", "grad_relu", "avg_clustering", "layermatch")
taus = {}
for setting, rows in main["plan"].items():
    taus[setting] = {m: (main["defaults"] | rows[m])["threshold"] for m in methods}
pd.DataFrame(taus).T

# %% [markdown]
# ## Why pairs? (3 minutes)
#
# Ten labels are sometimes lucky. But the *same* labels are lucky for both methods, so we subtract within a seed. Subtract
# across seeds instead, and the luck stays in.

# %%
setting = "digits, 10 labels"
ours, theirs = (np.array(list(stats.values(main, setting, row).values()))
                for row in ("layermatch", "fixmatch"))
differences = {"same seed": ours - theirs, "another seed": ours - np.roll(theirs, 1)}
for name, d in differences.items():
    print(f"{name}: spread {stats.spread(d):.2f}")
label = "LayerMatch − FixMatch"
figures.show(figures.dots_figure({setting: {"": differences}}, label, zero=True, pairs=True))

# %% [markdown]
# ## How sure is a mean of ten? (6 minutes)
#
# The **bootstrap** treats ten differences as if they were the whole population: draw ten with replacement, take the mean,
# ten thousand times. The spread of these means stands for that of ours. (With ten values plain percentiles are too narrow;
# `stats.interval` widens them as Student's $t$ would: Hesterberg 2015.)

# %%
d = (ours - theirs)[:10]
means = np.random.default_rng(0).choice(d, (10_000, 10)).mean(axis=1)
plain = np.quantile(means, [0.025, 0.975])
figures.show(figures.resampling_figure(d, means, stats.interval(d), plain))


# %% [markdown]
# ## Could it be luck? (30 minutes)
#
# If the method did nothing, each difference could just as well have the opposite sign.

# %% [markdown] tags=["exercise"]
# ### Exercise: a p-value from nothing but signs (medium, 10 minutes)
#
# Return the two-sided sign-flip p-value of paired differences: the share of all $2^n$ ways to choose their signs whose
# mean is at least as far from 0 as the observed one.

# %% tags=["exercise", "raises-exception"]
def sign_flip(d):
    """Paired differences d (n,), n up to 12 -> the exact two-sided p-value."""
    # your code
    return ...


# %% tags=["exercise"]
sign_flip = check("sign_flip")

# %% [markdown]
# Your p for the ten differences above, and all the means that flipped signs could give:

# %%
print(f"p = {sign_flip(d):.3f}")
figures.show(figures.flips_figure(d))


# %% [markdown]
# And if you ask eight times? Then some small p comes up by luck. **Holm's correction** controls the chance of any false
# alarm in one family of comparisons.

# %% [markdown] tags=["exercise"]
# ### Exercise: Holm's correction (demanding, 20 minutes)
#
# Return the corrected p-values in the order of the given ones: the smallest times m, the next times m - 1, and so on. A
# larger p-value never gets a smaller corrected one, and none exceeds 1.

# %% tags=["exercise", "raises-exception"]
def holm(p):
    """m p-values, in any order -> the corrected ones, in the same order."""
    # your code
    return ...


# %% tags=["exercise"]
holm = check("holm")

# %% [markdown]
# Eight comparisons of *nothing*, 200 times: how often does at least one look like a discovery?

# %%
rng = np.random.default_rng(1)
eights = [[sign_flip(x) for x in rng.normal(size=(8, 9))] for _ in range(200)]
alarms = {"as they are": [min(p) < 0.05 for p in eights],
          "after Holm's correction": [min(holm(p)) < 0.05 for p in eights]}
pd.Series({k: f"{np.mean(v):.0%}" for k, v in alarms.items()}, name="false alarms").to_frame()

# %% [markdown]
# ## Does LayerMatch win? (5 minutes)
#
# **Predict:** in how many of the eight settings is its lead over FixMatch decided (corrected p below 0.05)?

# %% tags=["prediction"]
question = "In how many of these eight settings is LayerMatch's lead over FixMatch decided?"
guess = predict_value("08-decided", question, low=0, high=8, step=1, label="settings, of 8")
guess

# %%
asked = ["LayerMatch against FixMatch", "LayerMatch against FreeMatch"]
lead, rival = (stats.family(main, question) for question in asked)
title = "Blue: decided for LayerMatch. Orange: against it. Grey: undecided"
on = figures.families_figure(main, asked, title)
guess.reveal(sum(c.sign == 1 for c in lead), on=on)

# %%
corrected = holm([c.p for c in lead])  # yours, on the eight p-values of the left panel
shown = dict(zip([c.setting for c in lead], map(stats.short, corrected)))
pd.Series(shown, name="corrected p").to_frame().T

# %% [markdown]
# **Which of the two parts does it?** Grad-ReLU alone, and averaged centres on top of it:

# %%
parts = ["Grad-ReLU alone", "Avg-Clustering on top of Grad-ReLU"]
figures.show(figures.families_figure(main, parts))

# %% [markdown]
# **Do the features know more, or does the classifier say more of what they know?**

# %%
read = study_readouts(main, setting, ("supervised", "fixmatch", "layermatch", "freematch"))
figures.show(figures.readout_figure(read, f"{setting}, 20 seeds"))

# %% [markdown]
# k-means finds hardly more in LayerMatch's features than in FixMatch's; LayerMatch's own classifier finds far more. Most of
# the gain is in the last layer (digits, ten labels).
#
# **Do pseudo-labels help the classifier less than the features?** Late in FixMatch, classifier minus first convolution:

# %%
gaps = stats.layer_gaps(main)
signs = stats.decide(gaps)
label = "classifier − conv 1, late in FixMatch"
figures.show(figures.differences_figure(gaps, label, decided=signs))

# %% [markdown]
# ## A study of your own (8 minutes)
#
# A `Study` is a plan; `carry_out` trains what its file does not hold yet. Change rows and question, and take more seeds:
# with three, the smallest possible p-value is 2/8 = 0.25.

# %%
short = dict(dataset="digits", num_labels=10, steps=150, log_every=15)
rows = {m: TrainConfig.preset("demo_cpu", method=m, **short) for m in ("fixmatch", "layermatch")}
compared = {"mine": [(setting, "layermatch", "fixmatch")]}
plan = Study("mine", "Already after 150 steps?", (0, 1, 2), {setting: rows}, compared)
file = Path(tempfile.mkdtemp()) / "mine.json"
carry_out(plan, file, progress=False)
stats.comparison_table(load(file), "mine")

# %% [markdown]
# ## The verdict
#
# **What did the paper's abstract claim, and what did we measure?** (Small networks, small data, our formulation.)

# %%
mask_rate = "at LayerMatch's mask rate"
added = [c for c in stats.family(load_study("noise"), asked[0]) if "no noise" not in c.setting]
found = {
    "LayerMatch beats FixMatch (paper: +10.38 %)": lead,
    "... also at its own mask rate": stats.family(main, mask_rate),
    "It beats FreeMatch (paper, over the state of the art: +2.44 %)": rival,
    "Grad-ReLU helps": stats.family(main, parts[0]),
    "Avg-Clustering alone helps": stats.family(main, "Avg-Clustering alone"),
    "... on top of Grad-ReLU": stats.family(main, parts[1]),
    "LayerMatch leads under added wrong labels (ours, digits)": added,
}
stats.verdict_table(found)

# %% tags=["hide-input"]
wins, losses = sum(c.sign == 1 for c in lead), sum(c.sign == -1 for c in rival)
worst = sum(sign == -1 for sign in signs["alignment"].values())
takeaways(
    (f"LayerMatch beats FixMatch in **{wins} of 8** settings and loses in none; the others are "
     "undecided.", wins > 0 and all(c.sign >= 0 for c in lead)),
    (f"FreeMatch, which selects samples, is ahead of LayerMatch in **{losses} of 8** settings, and "
     "behind it in none.", losses > 0 and all(c.sign <= 0 for c in rival)),
    ("Layers differ: pseudo-labels help the classifier less than the first convolution in "
     f"**{worst} of 8** settings.", worst > 4),
    table=stats.comparison_table(main, asked[0]), about="LayerMatch against FixMatch in full",
)  # fmt: skip

# %% [markdown]
# **What nobody can conclude from here:** that the paper's figures are right or wrong. They come from other data, larger
# networks and far longer runs. "Undecided" does not mean "equal": every value in the interval remains plausible.
#
# **Try it yourself.** Which row would spoil the story? Write a `Study` for it with the seeds 5000 to 5009, which no
# study has used, and write down what you will conclude *before* you call `carry_out`.
#
# **References.** Liang et al. 2024, arXiv 2406.14207. Wang et al. 2023, ICLR (FreeMatch). Hesterberg 2015, *The American
# Statistician* (bootstrap). Holm 1979, *Scand. J. Statistics*. Oliver et al. 2018, NeurIPS (realistic evaluation).
