# %% [markdown]
# # 02 One loss, two behaviours: what a wrong label does to centres and to features
#
# A network is a feature extractor $z = f_\theta(x)$ and a last, linear layer $Wz + b$. The same wrong label acts on the
# two in different ways. Afterwards you can
# - derive what a pseudo-label does to $W$ and to $z$, and check it against autograd,
# - say why an error spreads in $W$ and stays local in $z$,
# - show that a last layer can say much less than its features know.
#
# About 35 minutes.

# %%
import torch
import torch.nn.functional as F

from layermatch_lite import figures, load_study
from layermatch_lite.course import check, hint, predict_curve, takeaways
from layermatch_lite.labs import NoiseLab
from layermatch_lite.studies.known_noise import RATES, load_maps, mean_readout

# %% [markdown]
# ## A network you can draw (3 minutes)
#
# Three classes, features with two coordinates. Row $w_c$ of $W$ is the **centre** of class $c$: the direction in which
# its logit grows. The centres point a little wrong, as in a young network, so some pseudo-labels are wrong (ringed).

# %%
z, y, W = figures.toy(seed=1)
p = (z @ W.T).softmax(dim=1)  # no bias here
q = p.argmax(dim=1)           # the pseudo-labels; all of them count
figures.show(figures.gradient_arrows(z, y, q, W))


# %% [markdown]
# Clean part: what true labels would do. Noise part: what the wrong ones add. **Left:** the errors add up in the centres,
# and all samples share the centres. **Right:** an error pulls its own feature, and no other. (Each panel's longest arrow
# has the same length.)
#
# ## The two gradients (20 minutes)
#
# For one sample, $L = -\log p_{\hat q}$. Its gradient with respect to the logits is $p - e_{\hat q}$: what the network
# says minus what it was taught. The logits are $Wz$, so
#
# $$\frac{\partial L}{\partial W} = (p - e_{\hat q})\, z^\top .$$

# %% [markdown] tags=["exercise"]
# ### Exercise: where is a feature pulled? (medium, 10 minutes)
#
# Differentiate one sample's loss with respect to $z$ instead. A descent step moves the feature *against* this gradient:
# return the direction of the step for every sample, without a factor 1/N. Which centre does it lead to, and what does it
# lead away from?

# %% tags=["exercise", "raises-exception"]
def feature_pull(W, p, q):
    """Centres W (C, D), probabilities p (N, C), pseudo-labels q (N,) -> the pulls (N, D)."""
    # your code
    return ...


# %% tags=["exercise"]
feature_pull = check("feature_pull")

# %% [markdown]
# Does autograd agree with your formula?

# %%
z_ = z.clone().requires_grad_()
(by_autograd,) = torch.autograd.grad(F.cross_entropy(z_ @ W.T, q, reduction="sum"), z_)
print(f"largest difference: {(feature_pull(W, p, q) + by_autograd).abs().max():.1e}")


# %% [markdown]
# So a step moves $z$ towards the centre $w_{\hat q}$ and away from $\sum_c p_c w_c$, the average centre under the
# network's own probabilities.

# %% [markdown] tags=["exercise"]
# ### Exercise: what do wrong labels add to the centres? (medium, 10 minutes)
#
# Let $L$ be the mean over all N samples. Return the gradient of $W$ with the labels `q` minus that with the true classes
# `y`: the *noise* that wrong labels add. You do not need `p`. Why not?

# %% tags=["exercise", "raises-exception"]
def centre_noise(z, y, q, C):
    """Features z (N, D), classes y and pseudo-labels q (N,), C classes -> the noise (C, D)."""
    # your code
    return ...


# %% tags=["exercise"]
centre_noise = check("centre_noise")

# %% [markdown]
# The residual splits: $p - e_{\hat q} = (p - e_y) + (e_y - e_{\hat q})$, clean part plus noise. Take *one* step along the
# noise alone, once in $W$ and once in $z$. For how many of the correctly labelled features do the probabilities change?

# %%
correct = q == y


def count_changed(after):
    return int(((after - p).abs().amax(dim=1) > 1e-3)[correct].sum())


step = 1.2  # large enough to see
through_W = count_changed((z @ (W - step * centre_noise(z, y, q, 3)).T).softmax(dim=1))
through_z = count_changed(((z + step * (W[q] - W[y])) @ W.T).softmax(dim=1))
print(f"Through W: {through_W} of {int(correct.sum())}. Through z: {through_z}.")

# %% [markdown]
# As the network comes to believe a wrong label ($p \to e_{\hat q}$), clean part and noise cancel, and no gradient is left
# to correct the error. That is confirmation bias in one formula.
#
# ## What the last layer forgets (12 minutes)
#
# In a real network features are not free: they share $\theta$, so errors spread there, too. How much does that matter? We
# trained networks on ten labelled digits, and in place of pseudo-labels gave them the true labels of the other images,
# with a share changed to the *next* class.
#
# **Predict:** draw the test accuracy as this share grows from 0 to 80 %.

# %% tags=["prediction"]
question = "A share of the labels names the next class: how often is the network right?"
guess = predict_curve("02-next-class", question, RATES, xlabel="wrong", label="test accuracy")
guess

# %%
known = load_study("known_noise")
on = figures.noise_figure(known, ("pair", "uniform"))
guess.reveal([mean_readout(known, "pair", rate) for rate in RATES], on=on, panel=0)

# %% [markdown]
# Means of ten networks with 95 % intervals. Black is the network's own classifier. The triangle is k-means on *the same
# features*, which needs no label; the star, a fresh layer fitted with true labels, is a ceiling. Thin lines: networks
# that saw the ten labels alone.
#
# **Left:** at 60 % one way, the wrong name outvotes the true one, 60 to 40. The classifier says what it was taught, and
# the features know more. **Right:** scattered over nine classes, each wrong name gets 7 %, and with 40 % the truth
# wins. There k-means falls below the classifier: scattered errors blur the clusters. Here is one of the ten networks
# (UMAP of its features; a dark rim marks a wrong answer):

# %%
figures.show(figures.noise_maps_figure(load_maps(), known, [("pair", 0.0), ("pair", 0.6)]))

# %% [markdown]
# The clusters still stand; half of their points are misclassified.
#
# ### Try it: pull the rate up
#
# Which of the three falls first? Then change the *errors* from one way to scattered.

# %%
NoiseLab()

# %% [markdown]
# ## What to remember

# %% tags=["hide-input"]
own, kmeans = mean_readout(known, "pair", 0.6), mean_readout(known, "pair", 0.6, "kmeans")
scattered, n = mean_readout(known, "uniform", 0.6), int(correct.sum())
takeaways(
    (f"In $W$ the noise of {len(z) - n} wrong labels reaches **{through_W} of {n}** correctly "
     "labelled features; in $z$ each error moves only its own.",
     through_z == 0 and through_W > n / 2),
    (f"With 60 % of the labels naming the next class, the classifier is right on **{own:.0%}**; "
     f"k-means on the same features on **{kmeans:.0%}**.", kmeans > own + 0.3),
    ("Errors hurt the classifier when they agree: as many, scattered over all classes, leave it at "
     f"**{scattered:.0%}**.", scattered > own + 0.2),
)  # fmt: skip

# %% [markdown]
# And with the errors that a network makes itself? Notebook [03](03_gradient_interference.ipynb) measures which layer they
# mislead. (The derivatives are textbook calculus; reading them as two behaviours is the paper's idea, in our
# formulation.)
#
# **References.** Liang et al. 2024, arXiv 2406.14207. Bishop 2006, *Pattern Recognition and Machine Learning*, section
# 4.3 (the softmax derivative).
