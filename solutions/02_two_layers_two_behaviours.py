"""Solutions to notebook 02. The notebook's exercises are made from this file; after a change, run `make notebooks`."""

import torch.nn.functional as F

# %% [markdown] feature_pull
# ### Exercise: where is a feature pulled? (medium, 10 minutes)
#
# Differentiate one sample's loss with respect to $z$ instead. A descent step moves the feature *against* this gradient:
# return the direction of the step for every sample, without a factor 1/N. Which centre does it lead to, and what does it
# lead away from?

# %% feature_pull
def feature_pull(W, p, q):
    """Centres W (C, D), probabilities p (N, C), pseudo-labels q (N,) -> the pulls (N, D)."""
    # your code
    return W[q] - p @ W


# %% [markdown] centre_noise
# ### Exercise: what do wrong labels add to the centres? (medium, 10 minutes)
#
# Let $L$ be the mean over all N samples. Return the gradient of $W$ with the labels `q` minus that with the true classes
# `y`: the *noise* that wrong labels add. You do not need `p`. Why not?

# %% centre_noise
def centre_noise(z, y, q, C):
    """Features z (N, D), classes y and pseudo-labels q (N,), C classes -> the noise (C, D)."""
    # your code
    wrong = F.one_hot(y, C).to(z.dtype) - F.one_hot(q, C).to(z.dtype)
    return wrong.T @ z / len(z)
