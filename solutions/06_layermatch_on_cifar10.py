"""Solutions to notebook 06. The notebook's exercises are made from this file; after a change, run `make notebooks`."""

# %% [markdown] times_seen
# ### Exercise: how often is an image seen? (easy, 3 minutes)
#
# Training takes `steps` steps with `batch` images each, drawn from `samples` images, all equally often.

# %% times_seen
def times_seen(steps, batch, samples):
    """How often each of `samples` images is seen, on average: a number, not rounded."""
    # your code
    return steps * batch / samples
