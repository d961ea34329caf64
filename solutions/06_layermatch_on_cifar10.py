"""Solutions to notebook 06. The notebook's exercises are made from this file; after a change, run `make exercises`."""

import math

# %% [markdown] times_seen
# ### Exercise: how often is an image seen? (easy)
#
# Training takes `steps` steps with `batch` images each, drawn from `samples` images, all equally often.

# %% times_seen
def times_seen(steps, batch, samples):
    """How often each of `samples` images is seen, on average: a number, not rounded."""
    # your code
    return steps * batch / samples


# %% [markdown] learning_rate
# ### Exercise: the learning rate (medium)
#
# FixMatch's learning rate at step k of K is $\mathrm{lr} \cdot \cos(7\pi k / 16K)$. What share of it is left at the end?

# %% learning_rate
def learning_rate(k, K, lr):
    """The learning rate at step k of K, starting from lr."""
    # your code
    return lr * math.cos(7 * math.pi * k / (16 * K))
