# %% [markdown]
# # 03 Gradient interference: one number per layer
#
# Does a pseudo-label push a layer where the truth would push it? Afterwards you can
# - measure the *alignment* of pseudo-labels in every layer of a network,
# - say which layer they mislead most, and whether wrong labels or the choice of samples is to blame.
#
# About 20 minutes, and an appendix for the curious.

# %%
import pandas as pd
import torch
import torch.nn.functional as F

from layermatch_lite import TrainConfig, figures, load_data, load_study, train_steps
from layermatch_lite.core.seeding import generator
from layermatch_lite.course import check, hint, predict_curve, takeaways
from layermatch_lite.data.batches import unlabelled_batch
from layermatch_lite.data.views import Views
from layermatch_lite.labs import NoiseLab
from layermatch_lite.studies.report import late_by_layer, means, watched


# %% [markdown]
# ## Two gradients, one angle (8 minutes)
#
# Take one batch of strong views and compute two gradients of the loss. The pseudo-labels over τ give $g_\text{pseudo}$:
# what FixMatch does. The *true* labels of all samples give $g_\text{true}$: what one would like to do. Their cosine in one
# layer is the **alignment**. 1: same direction. 0: no help. Negative: it makes things worse. (Our formulation. True labels
# serve to measure here, never to train.)

# %% [markdown] tags=["exercise"]
# ### Exercise: the number itself (easy, 3 minutes)
#
# Return the cosine of the angle between two gradients of one layer, each a flat vector. If no sample passes τ,
# `g_pseudo` is zero; return 0 then.

# %% tags=["exercise", "raises-exception"]
def alignment(g_pseudo, g_true):
    """Gradients g_pseudo (P,) and g_true (P,) of one layer -> the cosine between them, a number."""
    # your code
    return ...


# %% tags=["exercise"]
alignment = check("alignment")

# %% [markdown]
# Use it on a FixMatch run on digits, one label per class, stopped at step 200:

# %%
data = load_data("digits", num_labels=10, seed=0)
config = TrainConfig.preset("demo_cpu", dataset="digits", num_labels=10, method="fixmatch", seed=0)
for run in train_steps(config, data):
    if run.step == 200:
        break

# %%
weak, strong, i = unlabelled_batch(data, Views(data), 512, generator(0, "notebook 03"))
y = data.y_unlabelled[i]
logits_weak, logits = run.model(torch.cat([weak, strong])).split(512)
confidence, q = logits_weak.detach().softmax(dim=1).max(dim=1)
over = confidence >= config.threshold
loss_pseudo = (over * F.cross_entropy(logits, q, reduction="none")).mean()
loss_true = F.cross_entropy(logits, y)


# %% tags=["code"]
def gradient(loss, layer):
    parts = torch.autograd.grad(loss, list(layer.parameters()), retain_graph=True)
    return torch.cat([part.flatten() for part in parts])


layers, found = ["conv 1", "conv 2", "conv 3", "classifier"], {}
for name, layer in zip(layers, run.model.children()):
    cosine = alignment(gradient(loss_pseudo, layer), gradient(loss_true, layer))
    found[name] = [float(cosine)]
one = {"one run, step 200": {"FixMatch": found}}
figures.show(figures.dots_figure(one, "alignment", zero=True))

# %% [markdown]
# ## Ten runs, and who is to blame (8 minutes)
#
# One batch of one run is an anecdote. The recorded study `layers` measured ten runs, late in training. It also asked:
# what if *the same samples* over τ had carried their **true** labels?
#
# **Predict:** how well would each layer then be aligned?

# %% tags=["prediction"]
question = "The samples over τ with their true labels (digits): how well is each layer aligned?"
guess = predict_curve("03-true-labels", question, layers, low=-0.5, label="alignment")
guess

# %%
true = "true labels, same samples"
columns = {"FixMatch": "alignment", true: "alignment_true_masked"}
measured = {}
for setting in ("digits, 10 labels", "mnist1d, 10 labels"):
    table = watched(load_study("layers"), setting, "fixmatch", "benefit")
    measured[setting] = late_by_layer(table, columns)
mean = means(measured)
on = figures.dots_figure(measured, "alignment with the true gradient", zero=True)
guess.reveal(list(mean["digits, 10 labels"][true].values()), on=on, panel=0)

# %% [markdown]
# With FixMatch's own labels alignment falls towards the classifier; with true labels on the same samples it does not.
# With one label per class it is the **wrong labels** that mislead the classifier, more than the choice of samples.
#
# ### Try it: which layer falls first?
#
# Ten networks at step 200, four draws each. Pull from no errors to all of the network's *own*. Then take scattered errors:
# is it always the classifier?

# %%
NoiseLab(view="gradient")

# %% [markdown]
# ## What to remember

# %% tags=["hide-input"]
digits, signals = (mean[s]["FixMatch"] for s in measured)
truth = {s: mean[s][true]["classifier"] for s in measured}
lowest = all(min(m, key=m.get) == "classifier" for m in (digits, signals))
takeaways(
    ("Late in FixMatch, pseudo-labels help the classifier least: alignment "
     f"**{digits['classifier']:+.2f}** on digits, **{signals['classifier']:+.2f}** on MNIST-1D.",
     lowest),
    (f"In the first convolution alignment is still **{digits['conv 1']:+.2f}** and "
     f"**{signals['conv 1']:+.2f}**.",
     all(m["conv 1"] > m["classifier"] + 0.1 for m in (digits, signals))),
    ("Wrong labels are the main cause: with true labels on the same samples the classifier is at "
     f"**{truth['digits, 10 labels']:+.2f}** and {truth['mnist1d, 10 labels']:+.2f}.",
     all(truth[s] - mean[s]["FixMatch"]["classifier"] > 1 - truth[s] for s in measured)),
)  # fmt: skip

# %% [markdown]
# The paper says that pseudo-labels do harm in the last layer; that it is the *least aligned* layer is our stronger claim.
# Notebook [08](08_ablation_and_claims.ipynb) tests a part of it, the classifier against the first convolution, with twenty
# other seeds in eight settings. Next, [04](04_grad_relu.ipynb): keep pseudo-labels out of this layer.
#
# ## Appendix: injected errors (optional, 20 minutes)
#
# Replace half of the labels over τ by wrong ones: scattered, or along the network's own confusions. The cosine (with true
# labels on the same samples) ignores length. The *layer benefit*, $\langle g_\text{pseudo}, g_\text{true}\rangle /
# \lVert g_\text{true}\rVert^2$, asks how far a step goes in the true direction; 1 is as far as with true labels.

# %%
noisy = watched(load_study("layers"), "digits, 10 labels", "fixmatch", "under_noise")
for quantity in ("cosine", "benefit"):
    dots = {}
    for name, kind in (("scattered", "uniform"), ("its confusions", "confusion")):
        t = noisy[(noisy["kind"] == kind) & (noisy["rate"] == 0.5)]
        dots[name] = {layer: list(t[t["layer"] == layer][quantity]) for layer in layers}
    figures.show(figures.dots_figure({"half of the labels wrong": dots}, quantity, zero=True))


# %% [markdown]
# The *kind* of error decides: scattered errors spare the classifier, its own confusions hit it hardest.

# %% [markdown] tags=["exercise"]
# ### Exercise: a noise that fools the threshold (demanding, 15 minutes)
#
# Replace `round(rate * N)` of the true labels by wrong ones so that no threshold helps: whatever τ you choose, the share
# of wrong labels among the samples over it is at least the share among all samples. Many solutions are right.

# %% tags=["exercise", "raises-exception"]
def fooling_noise(p, y, rate):
    """Probabilities p (N, C), classes y (N,), a rate -> labels (N,), that share of them wrong."""
    # your code
    return ...


# %% tags=["exercise"]
fooling_noise = check("fooling_noise")

# %%
labels = fooling_noise(logits_weak.detach().softmax(dim=1), y, 0.3)
wrong = {}
for tau in (0.0, 0.8, 0.95):
    passed = confidence >= tau
    wrong[f"τ = {tau}"] = float((labels != y)[passed].float().mean())
pd.Series(wrong, name="wrong among the labels over τ, with your noise").round(2).to_frame()

# %% [markdown]
# A threshold helps only if the network is less sure of its errors.
#
# **References.** Liang et al. 2024, arXiv 2406.14207 (the question). Yu et al. 2020, NeurIPS (PCGrad: cosines between
# gradients). Patrini et al. 2017, CVPR (label noise). Arazo et al. 2020 (confirmation bias).
