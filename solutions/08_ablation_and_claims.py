"""Solutions to notebook 08. The notebook's exercises are made from this file: run `make exercises` after a change."""

import itertools

# %% [markdown] sign_flip
# ### Exercise: a p-value from nothing but signs (medium)
#
# The two-sided sign-flip p-value of paired differences: the share of all $2^n$ ways to set their signs whose mean is at
# least as far from 0 as the one that was seen.

# %% sign_flip
def sign_flip(d):
    """Paired differences d (n,), n up to 12 -> the exact two-sided p-value."""
    # your code
    means = [sum(s * x for s, x in zip(signs, d)) for signs in itertools.product((-1, 1), repeat=len(d))]
    return sum(abs(m) >= abs(sum(d)) - 1e-9 for m in means) / len(means)


# %% [markdown] holm
# ### Exercise: Holm's correction (demanding)
#
# Return the corrected p-values, each at the place of its own: the smallest times m, the next times m - 1 and so on;
# none smaller than one that belongs to a smaller p-value, none above 1.

# %% holm
def holm(p):
    """m p-values, in any order -> the corrected ones, in the same order."""
    # your code
    corrected, worst = [0.0] * len(p), 0.0
    for k, i in enumerate(sorted(range(len(p)), key=lambda i: p[i])):
        worst = max(worst, min(1.0, (len(p) - k) * p[i]))
        corrected[i] = worst
    return corrected
