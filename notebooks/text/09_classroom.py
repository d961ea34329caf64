# %% [markdown]
# # LayerMatch labs

# %%
import os

from layermatch_lite.labs import classroom

classroom(os.environ.get("QUERY_STRING", ""))  # set by Voilà: the address after "?"

# %% [markdown]
# **What is what.** A network labels an unlabelled sample with its own most likely class, where its confidence reaches $\tau$:
# the *pseudo-label*. *Alignment* is the cosine between the gradient of these labels and that of the true labels, layer by
# layer. *Grad-ReLU* keeps pseudo-labels out of the last layer; *Avg-Clustering* pulls features towards averaged centres $\bar W$.
# The formulas of both are our formulation of the paper's idea (arXiv 2406.14207).
#
# **Lesson links.** Each lab shows its state as a short text, under *More*. Paste such a text into the box at the top to
# restore it; *Next* goes through a plan of the teachers' guide. **Without Python:** `make site` writes the same page to
# `out/site/labs.html`.
