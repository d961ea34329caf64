# %% [markdown]
# # 07 UMAP: the digit that vanished
#
# A map of features shows what a table hides. It also shows things that are not there. Afterwards you can
# - find a class that has vanished from a network's pseudo-labels,
# - ask the neighbours whether a label is wrong,
# - name two things that such a map must not be read for.
#
# About 40 minutes.

# %%
import pandas as pd
import torch

from layermatch_lite import figures, load_recorded
from layermatch_lite.core.seeding import generator
from layermatch_lite.course import check, hint, predict_value, takeaways
from layermatch_lite.figures.embedding import embed
from layermatch_lite.labs import TimeMachine
from layermatch_lite.labs.recorded import shipped_map

fixmatch, layermatch = load_recorded("digits_fixmatch"), load_recorded("digits_layermatch")
early, late = 1, 20  # of 21 recorded moments

# %% [markdown]
# ## One digit is missing (6 minutes)
#
# FixMatch on digits, one label per class, at the end of training: the features of 400 unlabelled digits (16 principal
# components of them are recorded). **UMAP** (McInnes et al. 2018) builds a graph of nearest neighbours and lays it out in
# the plane. Left, the true classes; right, what the network calls them. Which digit is missing?

# %%
z = fixmatch.features[late]
(points,) = embed([z])
figures.show(figures.truth_and_label_figure(points, fixmatch, late, "FixMatch, step 600"))

# %% [markdown]
# **The seven.** The sevens lie together, and the network calls them "2". How did that happen?

# %%
figures.show(figures.confusion_figure(fixmatch, [early, late], "FixMatch, pseudo-labels over τ"))


# %% [markdown]
# At step 30 no seven passes τ. Those that pass later are called 2, and they never come back. (The eights began no better:
# those that passed were called 1, and they recovered. An early error is not fate.) LayerMatch loses the seven, too:

# %%
def sevens(run, moment):  # those over τ, and how many of these are called 2
    over = run.mask[moment] & (run.y_true == 7)
    return int(over.sum()), int((run.labels[moment][over] == 2).sum())


table = {}
for name, run in (("FixMatch", fixmatch), ("LayerMatch", layermatch)):
    over, twos = sevens(run, late)
    table[name] = {"sevens over τ": over, "of these called 2": twos}
pd.DataFrame(table).T

# %% [markdown]
# ### Try it: the time machine
#
# Press **Play** and follow a seven. Did it go wrong alone, or with its group?

# %%
TimeMachine(sample=104)


# %% [markdown]
# ## Do the neighbours give it away? (12 minutes)

# %% [markdown] tags=["exercise"]
# ### Exercise: what do the neighbours say? (medium, 10 minutes)
#
# For every sample, return the share of its k nearest *other* samples in feature space that have the same label. Features
# here are the 16 principal components that the recording keeps.

# %% tags=["exercise", "raises-exception"]
def neighbours_agree(z, labels, k):
    """Features z (N, D), labels (N,) -> the share of agreeing neighbours of each sample, (N,)."""
    # your code
    return ...


# %% tags=["exercise"]
neighbours_agree = check("neighbours_agree")

# %%
features, labels = torch.tensor(z.astype("float32")), torch.tensor(fixmatch.labels[late]).long()
agree = neighbours_agree(features, labels, 10)
is_seven = torch.tensor(fixmatch.mask[late] & (fixmatch.y_true == 7))
hidden = int((agree[is_seven] > 0.5).sum())
print(f"Most neighbours agree with {hidden} of {int(is_seven.sum())} confident sevens.")

# %% [markdown]
# An error that has spread to its neighbours looks like the truth.
#
# ## How far can a map be trusted? (20 minutes)
#
# **Predict:** of a digit's ten nearest neighbours in feature space, what share is still among its ten nearest on the map?

# %% tags=["prediction"]
question = "What share of the ten nearest neighbours does the UMAP map keep?"
guess = predict_value("07-kept", question, label="share of neighbours kept")
guess


# %% [markdown] tags=["exercise"]
# ### Exercise: does the map keep neighbours? (demanding, 20 minutes)
#
# What share of each sample's k nearest others in feature space is also among its k nearest on the map? Return the mean
# over all samples.

# %% tags=["exercise", "raises-exception"]
def neighbours_kept(z, points, k):
    """Features z (N, D), their places on a map (N, 2) -> the share of neighbours kept, a number."""
    # your code
    return ...


# %% tags=["exercise"]
neighbours_kept = check("neighbours_kept")

# %%
kept = {}
for name, map_ in (("UMAP", points), ("PCA", embed([z], "pca")[0])):
    kept[name] = float(neighbours_kept(features, torch.tensor(map_.astype("float32")), 10))
guess.reveal(kept["UMAP"])
pd.Series(kept, name="share of ten neighbours kept").round(2).to_frame()

# %% [markdown]
# **Where islands lie means little.** The same features, three random starts (rings: wrong labels over τ):

# %%
placed = {f"random start {seed}": embed([z], seed=seed, init="random") for seed in (0, 1, 2)}
same = dict.fromkeys(placed, fixmatch)
figures.show(figures.maps_figure(placed, same, [late], "The same features"))

# %% [markdown]
# **A gap in a map is not a gap in the data.** 400 points from *one* normal distribution in 16 dimensions: there is nothing
# to find, and few neighbours tear it apart.

# %%
noise = torch.randn(400, 16, generator=generator(0, "pure noise"))
clumps = {f"{n} neighbours": embed([noise], n_neighbors=n, min_dist=0.0)[0] for n in (3, 30)}
figures.show(figures.clouds_figure(clumps, "Pure noise"))

# %% [markdown]
# So use the map to *look*, and judge in feature space.
#
# ## Photographs (3 minutes)
#
# CIFAR-10 with 4,000 labels, from the runs of notebook 06. The classes overlap now. Do animals lie apart from vehicles? (A question,
# not a proof.)

# %%
photos = {name: load_recorded(f"cifar10_4000_{name.lower()}")
          for name in ("FixMatch", "LayerMatch")}
shown = {name: [shipped_map(f"cifar10_4000_{name.lower()}")[late]] for name in photos}
figures.show(figures.maps_figure(shown, photos, [late], "UMAP of features, CIFAR-10"))

# %% [markdown]
# ## What to remember

# %% tags=["hide-input"]
(over, twos), (over_lm, twos_lm) = (sevens(run, late) for run in (fixmatch, layermatch))
takeaways(
    (f"The seven vanished: at the end FixMatch calls **{twos} of {over}** confident sevens 2, "
     f"LayerMatch {twos_lm} of {over_lm}.", twos == over and twos_lm > 0.9 * over_lm),
    (f"Its neighbours do not give it away: **{hidden} of {over}** sit among neighbours that are "
     "called 2, too.", hidden > 0.9 * over),
    (f"A UMAP map keeps **{kept['UMAP']:.0%}** of ten nearest neighbours, PCA {kept['PCA']:.0%}; "
     "gaps and distances on it prove nothing.", kept["UMAP"] > kept["PCA"]),
)  # fmt: skip

# %% [markdown]
# One run each: an illustration. Next, [08](08_ablation_and_claims.ipynb): judge the claims.
#
# **References.** McInnes, Healy and Melville 2018, arXiv 1802.03426 (UMAP). Coenen and Pearce, *Understanding UMAP*, PAIR.
# Chari and Pachter 2023, *PLOS Comp. Biol.* (what such maps distort).
