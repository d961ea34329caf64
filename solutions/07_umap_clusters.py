"""Solutions to notebook 07. The notebook's exercises are made from this file: run `make exercises` after a change."""

import torch

# %% [markdown] neighbours_agree
# ### Exercise: what do the neighbours say? (medium)
#
# For every sample, the share of its k nearest *other* samples in feature space that carry the same label as itself.
# That is how the table below looks for labels that nobody contradicts.

# %% neighbours_agree
def neighbours_agree(z, labels, k):
    """Features z (N, D), labels (N,) -> for each sample the share of its k nearest others with its own label, (N,)."""
    # your code
    near = torch.cdist(z, z).argsort(dim=1)[:, 1 : k + 1]  # the nearest of all is the sample itself
    return (labels[near] == labels[:, None]).float().mean(dim=1)


# %% [markdown] neighbours_kept
# ### Exercise: does the map keep neighbours? (demanding)
#
# Of each sample's k nearest others in feature space, how many are among its k nearest on the map? Return the mean
# share.

# %% neighbours_kept
def neighbours_kept(z, points, k):
    """Features z (N, D) and their places on a map, points (N, 2) -> the share of neighbours that the map keeps, a number."""
    # your code
    near = [torch.cdist(x, x).argsort(dim=1)[:, 1 : k + 1] for x in (z, points)]
    return (near[0][:, :, None] == near[1][:, None, :]).any(dim=2).float().mean()
