"""Solutions to notebook 08. The notebook's exercises are made from this file; after a change, run `make notebooks`."""

import itertools

# %% [markdown] sign_flip
# ### Exercise: a p-value from nothing but signs (medium, 10 minutes)
#
# Return the two-sided sign-flip p-value of paired differences: the share of all $2^n$ ways to choose their signs whose
# mean is at least as far from 0 as the observed one.

# %% sign_flip
def sign_flip(d):
    """Paired differences d (n,), n up to 12 -> the exact two-sided p-value."""
    # your code
    means = [sum(s * x for s, x in zip(signs, d)) for signs in itertools.product((-1, 1), repeat=len(d))]
    return sum(abs(m) >= abs(sum(d)) - 1e-9 for m in means) / len(means)


# %% [markdown] holm
# ### Exercise: Holm's correction (demanding, 20 minutes)
#
# Return the corrected p-values in the order of the given ones: the smallest times m, the next times m - 1, and so on. A
# larger p-value never gets a smaller corrected one, and none exceeds 1.

# %% holm
def holm(p):
    """m p-values, in any order -> the corrected ones, in the same order."""
    # your code
    corrected, worst = [0.0] * len(p), 0.0
    for k, i in enumerate(sorted(range(len(p)), key=lambda i: p[i])):
        worst = max(worst, min(1.0, (len(p) - k) * p[i]))
        corrected[i] = worst
    return corrected
