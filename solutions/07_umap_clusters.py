"""Solutions to notebook 07. The notebook's exercises are made from this file; after a change, run `make notebooks`."""

import torch

# %% [markdown] neighbours_agree
# ### Exercise: what do the neighbours say? (medium, 10 minutes)
#
# For every sample, return the share of its k nearest *other* samples in feature space that have the same label. Features
# here are the 16 principal components that the recording keeps.

# %% neighbours_agree
def neighbours_agree(z, labels, k):
    """Features z (N, D), labels (N,) -> the share of agreeing neighbours of each sample, (N,)."""
    # your code
    near = torch.cdist(z, z).argsort(dim=1)[:, 1 : k + 1]  # the nearest of all is the sample itself
    return (labels[near] == labels[:, None]).float().mean(dim=1)


# %% [markdown] neighbours_kept
# ### Exercise: does the map keep neighbours? (demanding, 20 minutes)
#
# What share of each sample's k nearest others in feature space is also among its k nearest on the map? Return the mean
# over all samples.

# %% neighbours_kept
def neighbours_kept(z, points, k):
    """Features z (N, D), their places on a map (N, 2) -> the share of neighbours kept, a number."""
    # your code
    near = [torch.cdist(x, x).argsort(dim=1)[:, 1 : k + 1] for x in (z, points)]
    return (near[0][:, :, None] == near[1][:, None, :]).any(dim=2).float().mean()
