"""Solutions to notebook 02. The notebook's exercises are made from this file; after a change, run `make exercises`."""

import torch.nn.functional as F

# %% [markdown] feature_pull
# ### Exercise: where is a feature pulled? (easy)
#
# One descent step on a sample's own loss moves its feature against $\partial L/\partial z$. Return this direction for
# every sample, without a factor 1/N. Which centre does it lead to, and what does it lead away from?

# %% feature_pull
def feature_pull(W, p, q):
    """Centres W (C, D), probabilities p (N, C), pseudo-labels q (N,) -> the pull on every feature (N, D)."""
    # your code
    return W[q] - p @ W


# %% [markdown] centre_noise
# ### Exercise: what do wrong labels add to the centres? (medium)
#
# Return the noise part of $\partial L/\partial W$, where $L$ is the mean over N samples: the gradient with the labels `q`
# minus the gradient with the true classes `y`. You do not need `p`. Why not?

# %% centre_noise
def centre_noise(z, y, q, C):
    """Features z (N, D), true classes y (N,), pseudo-labels q (N,), C classes -> the noise in the gradient of W (C, D)."""
    # your code
    wrong = F.one_hot(y, C).to(z.dtype) - F.one_hot(q, C).to(z.dtype)
    return wrong.T @ z / len(z)
