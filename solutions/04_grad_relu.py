"""Solutions to notebook 04. The notebook's exercises are made from this file; after a change, run `make exercises`."""

import torch.nn.functional as F

# %% [markdown] blocked
# ### Exercise: block it (easy)
#
# Return the loss on strong views, given pseudo-labels and mask. Its value and the features' gradient must stay exactly
# what they are in FixMatch, and no gradient may reach `W` and `b`.

# %% blocked
def blocked(z, W, b, q, a):
    """Features z (N, D), classifier W (C, D) and b (C,), pseudo-labels q (N,), mask a (N,) -> the loss, a scalar tensor."""
    # your code
    logits = F.linear(z, W.detach(), b.detach())
    return (a * F.cross_entropy(logits, q, reduction="none")).mean()


# %% [markdown] gated
# ### Exercise: the gate (medium)
#
# Remove from $g_u$ what opposes $g_s$, and nothing else. Where $g_s = 0$, there is nothing to oppose; return $g_u$
# unchanged.

# %% gated
def gated(g_u, g_s):
    """Flat gradients g_u (P,) of the pseudo-labels and g_s (P,) of the labels -> the gated g_u (P,)."""
    # your code
    size = g_s @ g_s
    alpha = g_u @ g_s / size if size > 0 else 0.0
    return g_u - min(alpha, 0.0) * g_s
