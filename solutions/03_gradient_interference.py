"""Solutions to notebook 03. The notebook's exercises are made from this file; after a change, run `make exercises`."""

# %% [markdown] benefit
# ### Exercise: the number itself (easy)
#
# Compute the layer benefit from two gradients, each a flat vector. If no sample passes τ, both gradients are 0; return 0
# then.

# %% benefit
def benefit(g_pseudo, g_true):
    """Gradients g_pseudo (P,) and g_true (P,) of one layer -> their layer benefit, a number."""
    # your code
    size = g_true @ g_true
    return g_pseudo @ g_true / size if size > 0 else 0.0


# %% [markdown] benefit_when_undecided
# ### Exercise: predict the sign (demanding)
#
# A network that knows almost nothing says $p_c \approx 1/C$ for every class. All samples count, whatever τ. Each true
# label is replaced, with probability r, by one of the $C - 1$ other classes. What is the layer benefit of such labels,
# averaged over the noise? At which r does its sign change? (It is the same in every layer that has a gradient at all.
# Start at the logits, where the error is $p - e_q$.)

# %% benefit_when_undecided
def benefit_when_undecided(rate, C):
    """Rate r of uniform errors in [0, 1], C classes -> the expected layer benefit, in every layer."""
    # your code
    return 1 - rate * C / (C - 1)  # p - E[e_q] = (1 - rC/(C-1)) (p - e_y): one factor for all; 0 at r = (C-1)/C


# %% [markdown] fooling_noise
# ### Exercise: design a noise that fools the threshold (demanding)
#
# Replace `round(rate * N)` of the true labels by wrong ones so that no threshold helps: whatever τ you choose, the share
# of wrong labels among the samples over it is at least the share among all samples. Many solutions are right.

# %% fooling_noise
def fooling_noise(p, y, rate):
    """Probabilities p (N, C), true classes y (N,), a rate in [0, 1] -> labels q (N,), a share `rate` of them wrong."""
    # your code
    q = y.clone()
    sure = p.amax(dim=1).argsort(descending=True)[: round(rate * len(y))]  # where the network is most confident
    q[sure] = (y[sure] + 1) % p.shape[1]
    return q
