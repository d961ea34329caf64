"""Solutions to notebook 01. The notebook's exercises are made from this file; after a change, run `make notebooks`."""

import torch.nn.functional as F

# %% [markdown] labels_and_mask
# ### Exercise: who may teach? (easy, 3 minutes)
#
# `p` holds the network's probabilities, one row for each of N samples. Return the pseudo-labels `q` (N,) and the mask
# `a` (N,), which is true where the confidence is at least τ. The next cell checks your function on random inputs. Until
# it is right, the notebook continues with the library's.

# %% labels_and_mask
def labels_and_mask(p, tau):
    """Probabilities p (N, C) -> pseudo-labels q (N,) and mask a (N,)."""
    # your code
    confidence, q = p.max(dim=1)
    return q, confidence >= tau


# %% [markdown] fixmatch
# ### Exercise: FixMatch (medium, 10 minutes)
#
# Write the loss $L_u$. You get the features of both views, (N, D) each, and the classifier's `W` (C, D) and `b` (C,);
# `F.linear(z, W, b)` gives the logits. The labels come from the weak view, and no gradient may flow back through them.
# Take the mean over all N samples, not over the masked ones only.

# %% fixmatch
def fixmatch(z_weak, z_strong, W, b, tau):
    """FixMatch's unlabelled loss L_u, a differentiable scalar tensor."""
    # your code
    p = F.linear(z_weak, W, b).detach().softmax(dim=1)
    confidence, q = p.max(dim=1)
    a = confidence >= tau
    return (a * F.cross_entropy(F.linear(z_strong, W, b), q, reduction="none")).mean()
