"""Solutions to notebook 05. The notebook's exercises are made from this file; after a change, run `make notebooks`."""

import torch.nn.functional as F

# %% [markdown] averaged
# ### Exercise: one step of the average (easy, 3 minutes)
#
# Return the averaged centres after update number `t`, counted from 0.

# %% averaged
def averaged(W_bar, W, t, m):
    """Centres W_bar and W (C, D), update t = 0, 1, ..., momentum m -> the new average (C, D)."""
    # your code
    m_t = min(m, (1 + t) / (10 + t))
    return m_t * W_bar + (1 - m_t) * W


# %% [markdown] layermatch_loss
# ### Exercise: LayerMatch's loss (easy, 5 minutes)
#
# Write LayerMatch's whole unlabelled loss. Labels and mask come from the current classifier and the weak view; the
# strong view's features are pulled to the averaged centres; only the features learn from it.

# %% layermatch_loss
def layermatch_loss(z_weak, z_strong, W, b, W_bar, b_bar, tau):
    """Features (N, D) twice, the classifier and its average -> the loss, a scalar tensor."""
    # your code
    confidence, q = F.linear(z_weak, W, b).detach().softmax(dim=1).max(dim=1)
    logits = F.linear(z_strong, W_bar.detach(), b_bar.detach())
    return ((confidence >= tau) * F.cross_entropy(logits, q, reduction="none")).mean()
