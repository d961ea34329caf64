"""Solutions to notebook 04. The notebook's exercises are made from this file; after a change, run `make notebooks`."""

import torch.nn.functional as F

# %% [markdown] grad_relu
# ### Exercise: Grad-ReLU in one line (easy, 5 minutes)
#
# Start from `fixmatch` above. Change it so that no gradient reaches `W` and `b`, while the loss and the features'
# gradient stay exactly what they were.

# %% grad_relu
def grad_relu(z_weak, z_strong, W, b, tau):
    """FixMatch's loss, from which the features learn and the classifier does not: a scalar."""
    # your code
    p = F.linear(z_weak, W, b).detach().softmax(dim=1)
    confidence, q = p.max(dim=1)
    logits = F.linear(z_strong, W.detach(), b.detach())  # all that differs from FixMatch
    return ((confidence >= tau) * F.cross_entropy(logits, q, reduction="none")).mean()


# %% [markdown] gated
# ### Exercise: the gate (medium, 10 minutes)
#
# If $g_u$ points against $g_s$, remove its component along $g_s$. Otherwise return it unchanged, also where $g_s = 0$.

# %% gated
def gated(g_u, g_s):
    """Gradients g_u of the pseudo-labels and g_s of the labels, both (P,) -> the gated g_u (P,)."""
    # your code
    size = g_s @ g_s
    alpha = g_u @ g_s / size if size > 0 else 0.0
    return g_u - min(alpha, 0.0) * g_s
