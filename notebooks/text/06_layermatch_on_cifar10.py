# %% [markdown]
# # 06 Photographs: CIFAR-10
#
# CIFAR-10 (Krizhevsky 2009): 50,000 photographs in ten classes. Here 25 or 400 per class are labelled. Afterwards you can
# - train on a GPU or a CPU with live curves, stop, and continue tomorrow,
# - read a recorded run critically: which device, how many steps, how many seeds,
# - train on a folder of your own images, few of them labelled, and write down what all the others show.
#
# About 30 minutes. Where CIFAR-10 is missing, as in the saved notebook, digits stand in; the recorded runs work everywhere.

# %%
import time

import pandas as pd

from layermatch_lite import TrainConfig, figures, load_data, load_recorded, train_steps
from layermatch_lite.course import check, hint, predict_value, takeaways
from layermatch_lite.data.sets import cifar10_at_hand
from layermatch_lite.labs import LiveRun, ThresholdLab, TimeMachine
from layermatch_lite.runs.device import pick_device
from layermatch_lite.runs.recording import list_recorded
from layermatch_lite.studies.files import RECORDED, load
from layermatch_lite.studies.report import NAMES, READOUTS, means, seed_table, watched
from layermatch_lite.studies.stats import values

DOWNLOAD = False  # True fetches CIFAR-10 once (170 MB)

# %% [markdown]
# **On Colab,** choose a GPU under *Runtime > Change runtime type* and run this first, with the address of your copy of
# the repository (more under [rooms](../docs/rooms.md)):
#
# ```
# !git clone --depth 1 ADDRESS layermatch
# %cd layermatch/notebooks
# %pip install --quiet "anywidget>=0.9" "umap-learn>=0.5.6"
# import sys; sys.path.insert(0, "/content/layermatch")
# ```
#
# ## What the network sees (2 minutes)

# %%
gpu = pick_device("auto").type == "cuda"
there = DOWNLOAD or cifar10_at_hand()
preset = "classroom_gpu_short" if gpu else "cifar_cpu"
small = TrainConfig.preset("demo_cpu", dataset="digits", num_labels=10, method="layermatch")
config = TrainConfig.preset(preset, num_labels=250, method="layermatch") if there else small
data = load_data(config.dataset, config.num_labels, seed=config.seed)
figures.show(figures.views_figure(data))


# %% [markdown]
# Strong views of photographs change colours, too.
#
# ## What a run takes (8 minutes)
#
# The protocol of the papers (preset `paper`): a WRN-28-2, 64 labelled and 448 unlabelled images per step, each of these
# in two views, and $2^{20}$ steps. A lesson cannot wait for that.

# %% [markdown] tags=["exercise"]
# ### Exercise: how often is an image seen? (easy, 3 minutes)
#
# Training takes `steps` steps with `batch` images each, drawn from `samples` images, all equally often.

# %% tags=["exercise", "raises-exception"]
def times_seen(steps, batch, samples):
    """How often each of `samples` images is seen, on average: a number, not rounded."""
    # your code
    return ...


# %% tags=["exercise"]
times_seen = check("times_seen")

# %%
drawn = {"labelled, 40 of them": (64, 40), "labelled, 250": (64, 250), "unlabelled": (448, 50_000)}
seen = {name: f"{times_seen(2**20, *sizes):,.0f} times" for name, sizes in drawn.items()}
pd.Series(seen, name="each image is seen").to_frame()

# %% [markdown]
# **Predict:** how many hours would $2^{20}$ steps of *your preset* take on this machine?

# %% tags=["prediction"]
question = "How long would 2^20 steps of your preset take on this machine?"
guess = predict_value("06-hours", question, low=0.1, high=10_000, label="time", unit="h", log=True)
guess

# %%
steps = train_steps(config.changed(log_every=config.steps), data)
for _ in range(4):  # the first steps are slower: memory, and on a GPU compilation
    run = next(steps)
started = time.perf_counter()
for _ in range(10):
    run = next(steps)
run.model.classifier.bias.sum().item()  # waits for a GPU to be done
hours = (time.perf_counter() - started) / 10 * 2**20 / 3600
guess.reveal(hours)

# %% [markdown]
# What the presets take, and what they reach:

# %%
runs = {name: load_recorded(name) for name in list_recorded() if "cifar10" in name}
cpu, later = runs["cifar10_250_layermatch"], "not yet measured"
measured = {"minutes": round(cpu.about["seconds"] / 60), "accuracy": round(cpu.accuracy, 2)}
rows = {"cifar_cpu": measured} | {name: {"minutes": later, "accuracy": later}
                                  for name in ("classroom_gpu_short", "classroom_gpu", "paper")}
for name in rows:
    p = TrainConfig.preset(name, method="layermatch")
    rows[name] = {"network": p.model, "labels": p.num_labels, "steps": p.steps, **rows[name]}
pd.DataFrame.from_dict(rows, orient="index")

# %% [markdown]
# ## Train, live (5 minutes, or all night)
#
# **Start** trains in the background; **Stop** ends after the current step. The file in `runs/` is kept up to date. Come
# back tomorrow, run the cell again, and **Start** continues to the result of an uninterrupted run (on a CPU bit for bit).

# %%
name = f"notebook06-{config.dataset}-{config.num_labels}-{config.method}.pt"
LiveRun(config, f"runs/{name}", data)

# %% [markdown]
# ## What two cores reach (8 minutes)
#
# Recorded runs; every line is a seed. A small network and short runs: compare the lines with each other, not with papers.

# %%
study = load(RECORDED / "cifar10.json")
curves = {setting: {NAMES.get(row, row): watched(study, setting, row, "history")
                    for row in rows if row != "untrained"}
          for setting, rows in study["plan"].items()}
figures.show(figures.seeds_over_training(curves, "accuracy", "CIFAR-10 on two cores"))

# %% [markdown]
# And what do the features know? At the end of each recorded run: the network's own classifier, fresh layers fitted to few
# or to all labels, and k-means.

# %%
ends = {f"{r.config.num_labels} labels, {NAMES[r.config.method]}": r.history[-1]["readout"]
        for r in runs.values()}
pd.DataFrame(ends).T[list(READOUTS)].rename(columns=READOUTS).round(2)

# %% [markdown]
# ### Try it: follow a photograph, move τ
#
# With 25 labels per class, which classes are confused? Press **Next wrong one**; the letters are the pseudo-label's. Where
# CIFAR-10 is on your machine, the lab shows the photograph. And what would another τ have let through?

# %%
TimeMachine(run="cifar10_250_fixmatch", beside="cifar10_250_layermatch")

# %%
ThresholdLab(run="cifar10_250_fixmatch", snapshot=20, tau=0.65)

# %% [markdown]
# ## Your own images (5 minutes)
#
# A pile of images and few labels: put the labelled ones into `train/<class>/`, all the others into `unlabelled/`. Here is
# such a folder, made on the spot from digits: 40 have a label, all 1,437 lie in `unlabelled/`, and 360 are kept to test with.

# %%
from pathlib import Path

from PIL import Image

digits, folder = load_data("digits", 40), Path("runs/my-images")
parts = {"train": (digits.x_labelled, digits.y_labelled),
         "test": (digits.x_test, digits.y_test), "unlabelled": (digits.x_unlabelled, None)}
for part, (images, labels) in parts.items():
    for k, image in enumerate(images):
        place = folder / part / ("" if labels is None else str(labels[k].item()))
        place.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image[0].numpy()).save(place / f"{k}.png")

# %% [markdown]
# Train on it. `num_labels=None` uses all labels there are, `flip=False` because a mirrored digit is none.

# %%
from layermatch_lite import predict_folder, train

own = TrainConfig(dataset=folder, num_labels=None, flip=False, steps=400, device="cpu")
mine = train(own)
last = mine.history[-1]
pd.Series({"pass the threshold": last["mask_rate"],
           "of these right": last["pseudo_label_accuracy"],
           "test accuracy": mine.accuracy}, dtype=object).to_frame("last record")

# %% [markdown]
# How many of the pseudo-labels are right is `None`: unknown, since nobody has labelled those images. The test images say how
# good the network is. Now let it label the rest: a table gets a line for each image, with its class and the confidence.
# Here are the ten images of which the network is least sure.

# %%
table = Path("runs/my-images.csv")
table.unlink(missing_ok=True)  # an existing file is never overwritten
predict_folder(mine, folder / "unlabelled", table)
figures.show(figures.unsure_figure(table, folder / "unlabelled"))
pd.read_csv(table).head(3)

# %% [markdown]
# Look at such images before you trust the rest. And confidence is not the chance of being right: how often "0.9" is right,
# only labelled images tell. On the command line all this takes two lines ([usage](../docs/usage.md#your-own-images)).
#
# ## What is published (2 minutes)
#
# | FixMatch, percent test accuracy | 40 labels | 250 | 4000 |
# |---|---|---|---|
# | the paper (RandAugment) | 86.19 ± 3.37 | 94.93 ± 0.65 | 95.74 ± 0.05 |
# | a popular PyTorch reimplementation, one seed | 93.60 | 95.31 | 95.77 |
# | USB benchmark, best checkpoint on the *test* set | 91.67 ± 1.41 | 95.03 ± 0.05 | 95.71 ± 0.10 |
#
# The same method, the same data, and 7 points between them at 40 labels: which images are labelled matters, and *which
# checkpoint is reported*. This course reports the final averaged model. LayerMatch's own tables were not available to us.
#
# ## What to remember

# %% tags=["hide-input"]
compared = ("supervised", "fixmatch", "layermatch")
few, many = ({m: list(values(study, f"cifar10, {n} labels", m).values()) for m in compared}
             for n in (250, 4000))
seeds, few, many = len(few["fixmatch"]), means(few), means(many)
read = runs["cifar10_250_fixmatch"].history[-1]["readout"]
takeaways(
    (f"Pseudo-labels pay on photographs, too: with 250 labels **{few['fixmatch']:.2f}** against "
     f"{few['supervised']:.2f} ({seeds} seeds).", few["fixmatch"] > few["supervised"]),
    (f"In these short runs LayerMatch and FixMatch are level: **{few['layermatch']:.2f}** and "
     f"**{few['fixmatch']:.2f}** with 250 labels, {many['layermatch']:.2f} and "
     f"{many['fixmatch']:.2f} with 4,000.", abs(few["layermatch"] - few["fixmatch"]) < 0.02),
    (f"Here k-means finds less (**{read['kmeans']:.2f}**) than the classifier says "
     f"({read['own']:.2f}); on digits it found more.", read["kmeans"] < read["own"]),
    table=seed_table(study, "cifar10, 250 labels"), about="Seed by seed, 250 labels",
)  # fmt: skip

# %% [markdown]
# The full protocol is one command, for those who have days: `layermatch-lite train --preset paper --method layermatch`.
# Next, [07](07_umap_clusters.ipynb): maps of features.
#
# **References.** Krizhevsky 2009 (CIFAR-10). Sohn et al. 2020, arXiv 2001.07685 (FixMatch). Zagoruyko and Komodakis 2016,
# arXiv 1605.07146 (WRN). Wang et al. 2022, arXiv 2208.07204 (USB). Liang et al. 2024, arXiv 2406.14207.
