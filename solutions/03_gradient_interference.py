"""Solutions to notebook 03. The notebook's exercises are made from this file; after a change, run `make notebooks`."""

# %% [markdown] alignment
# ### Exercise: the number itself (easy, 3 minutes)
#
# Return the cosine of the angle between two gradients of one layer, each a flat vector. If no sample passes τ,
# `g_pseudo` is zero; return 0 then.

# %% alignment
def alignment(g_pseudo, g_true):
    """Gradients g_pseudo (P,) and g_true (P,) of one layer -> the cosine between them, a number."""
    # your code
    lengths = g_pseudo.norm() * g_true.norm()
    return g_pseudo @ g_true / lengths if lengths > 0 else 0.0


# %% [markdown] fooling_noise
# ### Exercise: a noise that fools the threshold (demanding, 15 minutes)
#
# Replace `round(rate * N)` of the true labels by wrong ones so that no threshold helps: whatever τ you choose, the share
# of wrong labels among the samples over it is at least the share among all samples. Many solutions are right.

# %% fooling_noise
def fooling_noise(p, y, rate):
    """Probabilities p (N, C), classes y (N,), a rate -> labels (N,), that share of them wrong."""
    # your code
    q = y.clone()
    sure = p.amax(dim=1).argsort(descending=True)[: round(rate * len(y))]  # where the network is most confident
    q[sure] = (y[sure] + 1) % p.shape[1]
    return q
