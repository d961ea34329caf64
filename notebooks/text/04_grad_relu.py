# %% [markdown]
# # 04 Grad-ReLU: keep pseudo-labels out of the last layer
#
# One line turns your FixMatch into Grad-ReLU. Afterwards you can
# - block a gradient at one layer and leave the layers below as they were,
# - say what that gains, and what happens when you cut deeper.
#
# About 25 minutes, and an appendix on the gate.

# %%
import torch
import torch.nn.functional as F

from layermatch_lite import figures, load_data, load_study
from layermatch_lite.core.seeding import generator
from layermatch_lite.course import check, hint, predict_curve, takeaways
from layermatch_lite.data.views import Views
from layermatch_lite.labs import NoiseLab, TrainingLab
from layermatch_lite.models import build_model
from layermatch_lite.runs.evaluate import accuracy
from layermatch_lite.studies.report import gains, means
from layermatch_lite.studies.stats import comparison_table, differences, family


# %% [markdown]
# ## One line differs (7 minutes)
#
# The abstract says that Grad-ReLU removes "the gradient detrimental effects of pseudo-labels in the linear classification
# layer"; public summaries say that the gradient is set to zero there. So: the classifier learns from the labelled samples
# alone, the features from both. Here is FixMatch's loss, as you wrote it in notebook 01:

# %% tags=["code"]
def fixmatch(z_weak, z_strong, W, b, tau):
    p = F.linear(z_weak, W, b).detach().softmax(dim=1)
    confidence, q = p.max(dim=1)
    logits = F.linear(z_strong, W, b)
    return ((confidence >= tau) * F.cross_entropy(logits, q, reduction="none")).mean()


# %% [markdown] tags=["exercise"]
# ### Exercise: Grad-ReLU in one line (easy, 5 minutes)
#
# Start from `fixmatch` above. Change it so that no gradient reaches `W` and `b`, while the loss and the features'
# gradient stay exactly what they were.

# %% tags=["exercise", "raises-exception"]
def grad_relu(z_weak, z_strong, W, b, tau):
    """FixMatch's loss, from which the features learn and the classifier does not: a scalar."""
    # your code
    return ...


# %% tags=["exercise"]
grad_relu = check("grad_relu")


# %% [markdown]
# ## In your own loop (8 minutes)
#
# The loop of notebook 01. Batches and learning rate are those of the package's preset for digits: 32 labelled views,
# drawn from the ten, and 128 unlabelled ones. Only the loss that goes in differs.

# %%
def draw_batch(data, g):
    views = Views(data)
    u = data.x_unlabelled[torch.randint(len(data.x_unlabelled), (128,), generator=g)]
    i = torch.randint(len(data.x_labelled), (32,), generator=g)
    x, y = data.x_labelled[i], data.y_labelled[i]
    return y, torch.cat([views.strong(x, g), views.weak(u, g), views.strong(u, g)])


# %% tags=["code"]
def fit(loss, data, seed, steps=300, tau=0.8):
    g = generator(seed, "my loop")
    model = build_model("auto", data.sample_shape, 10, generator=g)
    W, b = model.classifier.weight, model.classifier.bias
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    for step in range(steps):
        y, batch = draw_batch(data, g)
        z, z_weak, z_strong = model.features(batch).split([32, 128, 128])
        L = F.cross_entropy(model.classifier(z), y) + loss(z_weak, z_strong, W, b, tau)
        optimizer.zero_grad()
        L.backward()
        optimizer.step()
    return accuracy(model.eval(), Views(data), data.x_test, data.y_test)


# %%
mine = {"FixMatch": [], "Grad-ReLU": []}
for seed in range(3):
    data = load_data("digits", num_labels=10, seed=seed)
    for name, loss in (("FixMatch", fixmatch), ("Grad-ReLU", grad_relu)):
        mine[name].append(fit(loss, data, seed))
three = {"digits, ten labels": {"": mine}}
figures.show(figures.dots_figure(three, "test accuracy", pairs=True))

# %% [markdown]
# Three seeds are few. The recorded study has twenty for each number of labels, each method with its own τ:

# %%
main = load_study("main")
lead = gains(main, ["grad_relu"], over="fixmatch")
label = "Grad-ReLU − FixMatch, accuracy"
figures.show(figures.dots_figure(lead, label, xlabel="labels", zero=True))

# %% [markdown]
# ### Try it: block the classifier
#
# Switch *Grad-ReLU* between off, block and gate. Which of the other layers changes?

# %%
NoiseLab(view="gradient", grad_relu="block")

# %% [markdown]
# None, in this step. What changes are the later steps, because the classifier makes the next pseudo-labels.
#
# ## Where should the cut be? (8 minutes)
#
# If shielding the classifier pays, why not one layer more? Now pseudo-labels train only the layers *below* a cut. (Our own
# question; ten other seeds, one τ for all, so gains are smaller than above.)
#
# **Predict:** the question names what cutting the classifier alone gains here. Draw what cutting deeper gains.

# %% tags=["prediction"]
depth, deeper = load_study("depth"), ["conv 3", "conv 2", "conv 1"]
shallow = means(differences(depth, "digits, 10 labels", "cut classifier", "fixmatch"))
question = f"Digits, ten labels: cut the classifier alone and gain {shallow:+.3f}. And deeper?"
guess = predict_curve("04-cuts", question, deeper, xlabel="cut from", low=-0.3, high=0.3)
guess

# %%
gained = {}
for setting in ("digits, 10 labels", "mnist1d, 10 labels"):
    layers = deeper if "digits" in setting else ["fc", *deeper]
    cuts = {"classifier": "cut classifier"} | {layer: f"cut from {layer}" for layer in layers}
    gains_of = {at: differences(depth, setting, row, "fixmatch") for at, row in cuts.items()}
    gained[setting] = {"cut": gains_of}
mean = {setting: at["cut"] for setting, at in means(gained).items()}
on = figures.dots_figure(gained, "gain over FixMatch, accuracy", xlabel="cut from", zero=True)
guess.reveal([mean["digits, 10 labels"][layer] for layer in deeper], on=on, panel=0)

# %% [markdown]
# From conv 3 down MNIST-1D loses, decided after correction: without pseudo-labels the convolutions learn from ten samples.
# On digits all three means are below 0, and none is decided.
#
# ### Try it: watch them train
#
# Recorded: FixMatch and LayerMatch, one seed. Choose Grad-ReLU as the *second* method and press **Train live**. Then
# change the seed (under *More*) before you believe in a difference.

# %%
TrainingLab()

# %% [markdown]
# ## What to remember

# %% tags=["hide-input"]
ten, hundred = ({d: at["Grad-ReLU"][n] for d, at in means(lead).items()} for n in ("10", "100"))
signs = {c.setting: c.sign for c in family(main, "Grad-ReLU alone") if "100" in c.setting}
every = {(c.setting, c.row): c.sign for c in family(depth, "every cut against FixMatch")}
signals = [mean["mnist1d, 10 labels"][layer] for layer in deeper]
decided = all(every["mnist1d, 10 labels", f"cut from {layer}"] == -1 for layer in deeper)
takeaways(
    ("Grad-ReLU detaches the classifier's weights and bias, nothing else. With ten labels accuracy "
     f"rises by **{ten['digits']:.2f}** on digits and {ten['mnist1d']:.2f} on MNIST-1D.",
     min(ten.values()) > 0),
    (f"With 100 labels the mean gain is **{hundred['digits']:+.3f}** on digits, undecided, and "
     f"**{hundred['mnist1d']:.2f}** on MNIST-1D.", list(signs.values()) == [1, 0]),
    ("Cut deeper and the convolutions starve: from conv 3 downwards MNIST-1D loses "
     f"**{-max(signals):.2f} to {-min(signals):.2f}** (decided with ten seeds).", decided),
    table=comparison_table(depth, "every cut against FixMatch"), about="Every cut, with intervals",
)  # fmt: skip


# %% [markdown]
# The two studies agree in direction. With twenty seeds and each method's own τ the gain with ten labels is decided on
# both data sets (notebook 08), with ten seeds and one τ on neither. And Grad-ReLU is no cure for errors that agree:
# with 60 % of the labels naming the next class (notebook 02) it hardly helps. Next, [05](05_avg_clustering.ipynb):
# steadier centres.
#
# ## Appendix: the gate (optional, 10 minutes)
#
# *Block* throws good gradients away with the bad. One can read the name differently: like a ReLU, let pass what is
# positive. Our **gate** trusts the labelled gradient $g_s$ of the classifier, and removes from the pseudo-labels' gradient
# $g_u$ only what points against it.

# %% [markdown] tags=["exercise"]
# ### Exercise: the gate (medium, 10 minutes)
#
# If $g_u$ points against $g_s$, remove its component along $g_s$. Otherwise return it unchanged, also where $g_s = 0$.

# %% tags=["exercise", "raises-exception"]
def gated(g_u, g_s):
    """Gradients g_u of the pseudo-labels and g_s of the labels, both (P,) -> the gated g_u (P,)."""
    # your code
    return ...


# %% tags=["exercise"]
gated = check("gated")

# %%
g_s = torch.tensor([1.0, 0.3])
angles = torch.arange(0, 360, 30).deg2rad()
arrows = torch.stack([angles.cos(), angles.sin()], dim=1)
figures.show(figures.gate_arrows(arrows, torch.stack([gated(g_u, g_s) for g_u in arrows]), g_s))

# %% [markdown]
# Orange: those that opposed $g_s$ (black); after the gate they are at a right angle to it. In training, over ten seeds,
# the gate's effect is undecided in both settings (see the table above).
#
# **References.** Liang et al. 2024, arXiv 2406.14207 (modes and formulas are our formulation). Yu et al. 2020, NeurIPS
# (PCGrad: projecting a gradient that opposes another).
