# %% [markdown]
# # 00 Quickstart: do pseudo-labels help every layer?
#
# In five minutes you train three methods, three times each, on **ten labelled digits**. Afterwards you can
# - say what semi-supervised learning is,
# - read one figure: who wins, what the features know, and which layer is misled.
#
# The method is **LayerMatch** (Liang et al. 2024, [arXiv 2406.14207](https://arxiv.org/abs/2406.14207)). We had only the
# paper's abstract: the two ideas are the paper's, the formulas are ours.

# %%
from layermatch_lite import figures, load_data, load_study
from layermatch_lite.course import predict_order, takeaways
from layermatch_lite.studies.demo import run_demo
from layermatch_lite.studies.report import gains, late_by_layer, layer_benefits
from layermatch_lite.studies.report import mean_accuracy, means, readout_table, readouts
from layermatch_lite.studies.report import study_readouts

data = load_data("digits", num_labels=10, seed=0)

# %% [markdown]
# ## Ten labels, 1,427 images without (1 minute)
#
# One image of each class has a label, the others have none. Can they help? Learning from both is called
# *semi-supervised*. A *weak view* shifts an image a little; a *strong view* also changes its contrast or shape and erases
# a square. Neither changes the digit, so all views should get the same label.

# %%
figures.show(figures.views_figure(data))

# %% [markdown]
# ## Three methods (3 minutes)
#
# - **Supervised** learns from the ten labels alone.
# - **FixMatch** also makes its own labels. Where the network is sure about a weak view, it takes its own guess as a
#   *pseudo-label* and trains the strong view with it. Some pseudo-labels are wrong, and they train every layer.
# - **LayerMatch** keeps them out of the last layer, the *classifier* (Grad-ReLU), and trains the other layers against a
#   moving average of it (Avg-Clustering).
#
# **Predict:** which will be best? Put the three in order, press *Commit*, then run the cells below.

# %% tags=["prediction"]
question = "Which method has the highest test accuracy (one label per class, seeds 3 to 5)?"
methods = ["Supervised", "FixMatch", "LayerMatch"]
guess = predict_order("00-best", question, methods, label="test accuracy")
guess

# %%
outcomes = run_demo(seeds=3, seed=3)

# %%
accuracy = mean_accuracy(outcomes)
guess.reveal(accuracy, on=figures.comparison_figure(outcomes))

# %% [markdown]
# **Left.** Every line is one seed: the same ten labels, the same first weights. **Middle.** Black is the network's own
# classifier; the triangle is k-means on its features, which sees no label. The star, a fresh layer fitted with *all* true
# labels, is a ceiling, high even for untrained features. **Right.** *Alignment*: the cosine between the gradient of
# the pseudo-labels and that of all true labels, as if each network trained with pseudo-labels now. 1: same direction.
# 0: no help. Below 0: it makes things worse.
#
# ## Where it makes less difference (1 minute)
#
# We chose the setting with the fewest labels. Here are twenty recorded seeds for each number of labels, on digits and on
# MNIST-1D (ten digits drawn as curves of 40 values).

# %%
main = load_study("main")
lead = gains(main, ["layermatch"], over="fixmatch")
label = "LayerMatch − FixMatch, accuracy"
figures.show(figures.dots_figure(lead, label, xlabel="labels", zero=True))

# %% [markdown]
# On digits the mean lead is near 0 from 40 labels on; on MNIST-1D it shrinks.
#
# ## What to remember

# %% tags=["hide-input"]
fixmatch = layer_benefits(outcomes).query("method == 'fixmatch'")
aligned = means(late_by_layer(fixmatch, {"alignment": "alignment"}))["alignment"]
read = means(study_readouts(main, "digits, 10 labels", ["fixmatch"]))["FixMatch"]
S, F, L = accuracy.values()
takeaways(
    (f"With ten labels LayerMatch is right on **{L:.0%}** of the test digits, FixMatch on "
     f"**{F:.0%}**, the labels alone on {S:.0%} (three seeds).", L > F > S),
    ("FixMatch's features know more than its classifier says: k-means sorts "
     f"**{read['kmeans']:.0%}** of the digits, it gets {read['own']:.0%} (twenty recorded seeds).",
     read["kmeans"] > read["own"]),
    ("Its pseudo-labels mislead the last layer most: alignment "
     f"**{aligned['classifier']:+.2f}** there, {aligned['conv 1']:+.2f} in the first.",
     min(aligned, key=aligned.get) == "classifier"),
    table=readout_table(readouts(outcomes)), about="What the features know, mean ± spread",
)  # fmt: skip

# %% [markdown]
# Three seeds cannot rank methods; notebook [08](08_ablation_and_claims.ipynb) judges with twenty, and
# [results](../docs/results.md) has every number. Next, [01](01_pseudo_labels.ipynb): build FixMatch with your own hands.
#
# **References.** Liang et al. 2024, arXiv 2406.14207. Sohn et al. 2020, *FixMatch*, NeurIPS.
