"""Solutions to notebook 01. The notebook's exercises are made from this file; after a change, run `make exercises`."""

import torch.nn.functional as F

# %% [markdown] labels_and_mask
# ### Exercise: who may teach? (easy)
#
# The network's probabilities for N samples are `p`, one row each. Return the pseudo-labels `q` (N,) and the mask `a`
# (N,), which is true where the confidence is at least τ. The next cell checks your function on random inputs; until it
# is right, the notebook continues with the library's.

# %% labels_and_mask
def labels_and_mask(p, tau):
    """Probabilities p (N, C) -> pseudo-labels q (N,) and mask a (N,)."""
    # your code
    confidence, q = p.max(dim=1)
    return q, confidence >= tau


# %% [markdown] fixmatch
# ### Exercise: FixMatch as a function (medium)
#
# Write the six lines as a function of the weak and the strong views' features (N, D) and the classifier's `W` (C, D) and
# `b` (C,). Scroll until they are out of sight, and write them yourself. The check compares the value *and* the gradients
# with respect to `z_weak`, `z_strong`, `W` and `b`.

# %% fixmatch
def fixmatch(z_weak, z_strong, W, b, tau):
    """FixMatch's unlabelled loss L_u, a differentiable scalar tensor."""
    # your code
    p = F.linear(z_weak, W, b).detach().softmax(dim=1)
    confidence, q = p.max(dim=1)
    a = confidence >= tau
    return (a * F.cross_entropy(F.linear(z_strong, W, b), q, reduction="none")).mean()
