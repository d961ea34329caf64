# %% [markdown]
# # 05 Avg-Clustering: pull features towards centres that do not jitter
#
# FixMatch pulls features towards the classifier's centres, which move with every batch. An average is steadier. Afterwards
# you can
# - build averaged centres and put LayerMatch together in your own loop,
# - say what averaging steadies, and what it does not improve,
# - say which centres should make the labels.
#
# About 35 minutes.

# %%
import pandas as pd
import torch
import torch.nn.functional as F

from layermatch_lite import figures, load_data, load_study
from layermatch_lite.core.seeding import generator
from layermatch_lite.course import check, hint, predict_value, takeaways
from layermatch_lite.course.toys import chase
from layermatch_lite.data.views import Views
from layermatch_lite.figures.clustering import drift
from layermatch_lite.labs import DecisionLab
from layermatch_lite.models import build_model
from layermatch_lite.studies.report import at_end, gains, means
from layermatch_lite.studies.stats import comparison_table


# %% [markdown]
# ## An average of centres (5 minutes)
#
# $\bar W$ is an exponential moving average: after every optimizer step it keeps the share $m_t$ of itself and takes the
# rest from $W$. The share warms up, $m_t = \min\big(m, \frac{1+t}{10+t}\big)$, so that the average forgets the random
# start. (The abstract asks for "stable clustering centers"; summaries speak of a moving average; the formula is ours.)

# %% [markdown] tags=["exercise"]
# ### Exercise: one step of the average (easy, 3 minutes)
#
# Return the averaged centres after update number `t`, counted from 0.

# %% tags=["exercise", "raises-exception"]
def averaged(W_bar, W, t, m):
    """Centres W_bar and W (C, D), update t = 0, 1, ..., momentum m -> the new average (C, D)."""
    # your code
    return ...


# %% tags=["exercise"]
averaged = check("averaged")


# %% [markdown]
# ## LayerMatch in your own loop (12 minutes)
#
# In LayerMatch the current classifier labels the weak view, and the average pulls the strong one.

# %% [markdown] tags=["exercise"]
# ### Exercise: LayerMatch's loss (easy, 5 minutes)
#
# Write LayerMatch's whole unlabelled loss. Labels and mask come from the current classifier and the weak view; the
# strong view's features are pulled to the averaged centres; only the features learn from it.

# %% tags=["exercise", "raises-exception"]
def layermatch_loss(z_weak, z_strong, W, b, W_bar, b_bar, tau):
    """Features (N, D) twice, the classifier and its average -> the loss, a scalar tensor."""
    # your code
    return ...


# %% tags=["exercise"]
layermatch_loss = check("layermatch_loss")


# %% [markdown]
# Your loss, and after each step your average: that is all of LayerMatch.

# %%
def draw_batch(data, g):
    views = Views(data)
    u = data.x_unlabelled[torch.randint(len(data.x_unlabelled), (128,), generator=g)]
    i = torch.randint(len(data.x_labelled), (32,), generator=g)
    x, y = data.x_labelled[i], data.y_labelled[i]
    return y, torch.cat([views.strong(x, g), views.weak(u, g), views.strong(u, g)])


# %% tags=["code"]
def fit(data, g, steps=300, tau=0.8, m=0.99):
    model = build_model("auto", data.sample_shape, 10, generator=g)
    W, b = model.classifier.weight, model.classifier.bias
    W_bar, b_bar, centres = W.detach().clone(), b.detach().clone(), []
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    for t in range(steps):
        y, batch = draw_batch(data, g)
        z, z_weak, z_strong = model.features(batch).split([32, 128, 128])
        L_u = layermatch_loss(z_weak, z_strong, W, b, W_bar, b_bar, tau)
        optimizer.zero_grad()
        (F.cross_entropy(model.classifier(z), y) + L_u).backward()
        optimizer.step()
        W_bar, b_bar = averaged(W_bar, W.detach(), t, m), averaged(b_bar, b.detach(), t, m)
        centres.append((W.detach().clone(), W_bar))
    return centres


# %% [markdown]
# How far do the centres move in one step, relative to their size? (In 300 steps $m_t$ reaches 0.97: all of your run is
# warm-up.)

# %%
centres = fit(load_data("digits", num_labels=10, seed=0), generator(0, "my loop"))
tables = {}
for k, name in enumerate(("W", "averaged W")):
    moved = [drift(before[k], after[k]) for before, after in zip(centres, centres[1:])]
    steps = pd.DataFrame({"step": range(1, 300), "drift_W": moved})
    tables[name] = steps.groupby(steps["step"] // 10 * 10)["drift_W"].mean().reset_index()
figures.show(figures.over_training(tables, ("drift_W",), "your run, mean of ten steps"))

# %% [markdown]
# ### Try it: centres in the plane
#
# Two features, two classes. Filled marks are the centres, hollow ones their averages. Press **Train live**: how far does
# the hollow mark lag behind?

# %%
DecisionLab(dataset="two_moons", method_b="avg_clustering", space="features", seed=0, step=20)

# %% [markdown]
# ## What it does, and what it does not (6 minutes)
#
# Ten recorded runs each on digits. Scatter: the spread within classes over that between them. NMI: how well k-means finds
# the classes. In *Avg-Clustering* alone, pseudo-labels train the classifier, too.

# %%
study, setting = load_study("centers"), "digits, 10 labels"
rows = ("fixmatch", "avg_clustering", "layermatch")
clusters = {"scatter (small: tight)": {"": at_end(study, setting, rows, "scatter_ratio")},
            "k-means NMI (large: pure)": {"": at_end(study, setting, rows, "nmi")}}
figures.show(figures.dots_figure(clusters, "features at the end of training", pairs=True))

# %% [markdown]
# Tighter clusters are not purer ones, and averaging alone does not tighten them. And the accuracy? Twenty seeds, averaging
# alone and on top of Grad-ReLU:

# %%
main = load_study("main")
alone = gains(main, ["avg_clustering"], over="fixmatch")
on_top = gains(main, ["layermatch"], over="grad_relu")
gain = {d: {"alone": alone[d]["Avg-Clustering"], "on top of Grad-ReLU": on_top[d]["LayerMatch"]}
        for d in alone}
figures.show(figures.dots_figure(gain, "gain, accuracy", xlabel="labels", zero=True))

# %% [markdown]
# ## May the average label, too? (6 minutes)
#
# $\bar W$ is steadier: why not let it make the pseudo-labels? Here is a game in the plane. Free features are pulled to
# $\bar W$, and $W$ learns from a few labelled points. All centres start a quarter turn off, and there is no warm-up, so
# that the average lags.
#
# **Predict:** let $\bar W$ make the labels (m = 0.99). How many of them are right in the end?

# %% tags=["prediction"]
question = "Labels come from averaged centres that lag: which share is right after 150 rounds?"
guess = predict_value("05-lagging", question, label="share of right labels")
guess

# %%
games = {"labels from W": chase("W", m=0.99),
         "labels from averaged W": chase("W_bar", m=0.99)}
shown = ("pseudo_label_accuracy", "accuracy")
on = figures.over_training(games, shown, "features chasing centres, 20 seeds")
right = {k: t[t["step"] == 150]["pseudo_label_accuracy"].mean() for k, t in games.items()}
guess.reveal(right["labels from averaged W"], on=on, panel=0)

# %% [markdown]
# (Step: a round of the game; test accuracy: of $W$, on all features.) $W$ turns early and then labels well.
# $\bar W$ has not turned yet, and the features settle at the wrong centres. So in our formulation **the current classifier
# labels, and the average pulls**. In our real trainings, where the warm-up keeps the lag short, we saw no difference.
#
# ## The whole method on one screen (3 minutes)
#
# This file of the library holds FixMatch, Grad-ReLU, LayerMatch and a loop. A test checks that it gives exactly the weights
# of `train`.

# %%
from IPython.display import Code

from layermatch_lite.core import minimal

Code(filename=minimal.__file__, language="python")

# %% [markdown]
# ## What to remember

# %% tags=["hide-input"]
end = {name: t["drift_W"].tail(5).mean() for name, t in tables.items()}
top = {data: at["on top of Grad-ReLU"] for data, at in means(gain).items()}
current, lagging = right.values()
takeaways(
    ("Averaged centres are steadier: at the end of your run they move "
     f"**{end['averaged W']:.4f}** of their size per step, the current ones {end['W']:.4f}.",
     end["averaged W"] < end["W"]),
    (f"On top of Grad-ReLU they gain **{top['mnist1d']['10']:+.2f}** on MNIST-1D with ten labels, "
     f"and {top['digits']['10']:+.3f} on digits.", top["mnist1d"]["10"] > top["digits"]["10"]),
    (f"A lagging average labels badly in the toy game: **{lagging:.0%}** right, the current "
     f"classifier {current:.0%}. In our trainings no difference is decided.",
     current > lagging),
    table=comparison_table(main, "Avg-Clustering on top of Grad-ReLU"), about="With intervals",
)  # fmt: skip

# %% [markdown]
# Next, [06](06_layermatch_on_cifar10.ipynb): photographs. More measures of clusters are in
# [results](../docs/results.md).
#
# **References.** Liang et al. 2024, arXiv 2406.14207 (formulas are ours). Tarvainen and Valpola 2017, NeurIPS (Mean
# Teacher: averaging weights). Papyan et al. 2020, PNAS (neural collapse: features gather at their centres).
