"""Training: `train` runs to the end, saves and shows progress; `train_steps` yields after every step. The loop is `core.loop`."""

from __future__ import annotations

import os
import time
import traceback
import warnings
from collections.abc import Iterator
from contextlib import nullcontext
from os import PathLike
from pathlib import Path

import torch
from torch import nn

from ..core.loop import training_loop
from ..core.readout import readout
from ..data.sets import NAMES, OF_FOLDERS, SSLData, load_data
from ..errors import InputError, check_readout, takes
from ..models import build_model
from ..system import reserved, torch_settings
from ..variants.build import build_method
from .config import TrainConfig
from .device import free_memory, has_bf16, out_of_memory, pick_device, precision_of
from .engine import batches_of, forward_of, views_of
from .evaluate import Meter, evaluate, measure_layer_benefit
from .parallel import check_shares, on_every_process, rank, rank_0_first, world_size
from .run import Run


@takes(
    config=TrainConfig | None, data=SSLData | None, model=nn.Module | None, save="path or None", resume="path or None",
    progress="flag",
)  # fmt: skip
def train(
    config: TrainConfig | None = None,
    data: SSLData | None = None,
    *,
    model: nn.Module | None = None,
    save: str | PathLike | None = None,
    resume: str | PathLike | None = None,
    progress: bool = False,
) -> Run:
    """Train to the end and return the run.

    Args:
        config: the settings; may be left out when resuming.
        data: your own split, or None to load what config.dataset names.
        model: your own network in place of config.model: any module with `features` and `classifier` as in
            `layermatch_lite.models`, or any classifier whose last layer is an `nn.Linear`. A copy of it is trained, from its
            present weights; give the same network again to resume. It draws its own random numbers (dropout) from torch's
            global state, so a run with them is not repeatable bit for bit; config.bn_momentum does not touch it.
        save: a new file, brought up to date at every record of the history.
        resume: a saved run to continue, in place; its history comes out as if it had never stopped.
        progress: show a bar with the latest record.

    Ctrl-C ends training early: the run comes back with every record so far, to look at; to continue, resume from the file,
    which holds the state at the last record.

    Inside `parallel.processes` it is one run on several processes; what rank 0 returns and saves is the run.

    A file that can no longer be written (a full disk) is named in a warning, and training continues: `run.saved` says which
    step the file holds.

    Raises:
        InputError: settings, data, files, a network or a GPU's memory that do not fit. NonFiniteLoss: training diverged.
    """
    from tqdm import tqdm

    if save is not None and resume is not None:
        raise InputError("save= is for a new run, and resume= goes on writing its own file; leave one of them out.")
    first = rank() == 0  # of several processes, one writes the file
    path = resume if save is None else save
    path = None if path is None else Path(path).absolute()
    run = None
    with (
        reserved(path) if path is not None and first and (save is not None or path.exists()) else nullcontext(),
        tqdm(unit=" steps", disable=not (progress and first)) as bar,
    ):
        if save is not None and os.path.lexists(path):
            raise InputError(
                f"{save} exists already and is kept; continue it (--resume, resume=), or choose another place (--out, save=)."
            )
        try:
            for n, run in enumerate(train_steps(config, data, model=model, resume=resume, progress=progress)):
                if n == 0 and save is not None:
                    run.saved = None  # the new file holds nothing yet
                if first and path is not None and (run.step == 0 or run.just_logged):
                    save_or_warn(run, path)
                bar.total = run.config.steps
                bar.update(run.step - bar.n)
                if run.just_logged:
                    bar.set_postfix(accuracy=f"{run.accuracy:.3f}", refresh=False)
        except KeyboardInterrupt:
            if run is None:
                raise
    return run


def save_or_warn(run: Run, path: str | PathLike) -> None:
    """Save the run. A disk that is full in the middle of a long run does not end it: the file keeps the record before."""
    try:
        run.save(path)
    except InputError as error:
        if run.step == 0:
            raise
        held = "Nothing is saved yet" if run.saved is None else f"The file holds step {run.saved}"
        then = "nothing more will be saved" if run.finished else "training continues, and the next record is saved if it can be"
        warnings.warn(f"step {run.step}: {error} {held}; {then}.", stacklevel=3)


@takes(config=TrainConfig | None, data=SSLData | None, model=nn.Module | None, resume="path or None", progress="flag")
def train_steps(
    config: TrainConfig | None = None,
    data: SSLData | None = None,
    *,
    model: nn.Module | None = None,
    resume: str | PathLike | None = None,
    progress: bool = False,
) -> Iterator[Run]:
    """Training step by step, for whoever wants to watch or stop it: `for run in train_steps(config): ...`

    Yields the same Run object before its first step and after every step; a `break` stops training.
    Arguments and errors are those of `train`; nothing is saved unless you call `run.save`, where run.just_logged.
    """
    with torch_settings():
        run, data = prepare(config, data, model, resume, progress)
        config, device = run.config, data.x_unlabelled.device
        views, free = views_of(config, data), free_memory(device)
        method = build_method(run, data)
        steps = training_loop(run, method, batches_of(run, data, views), forward_of(run))
        meter = Meter(len(data.classes), device, data.truth_known)
    run.model.train()
    yield run
    while not run.finished:
        started, run.mid_step = time.perf_counter(), True
        with torch_settings(run.environment["threads"]):  # sums come out the same only with as many threads
            try:
                seen = next(steps)
            except torch.OutOfMemoryError as error:
                if free is None:
                    raise
                traceback.clear_frames(error.__traceback__)  # the error must not hold the step's tensors
                raise _out_of_memory(run, free) from None
            meter.add(run.step - 1, seen, data.y_unlabelled)
            if run.recorded_at(run.step):
                run.history.append(meter.read(run) | evaluate(run, data, views))
                if run.due(config.probe_every):
                    benefit = measure_layer_benefit(run, data, views, run.generators["probe"])
                    run.history[-1]["layer_benefit"] = benefit
                if run.due(config.readout_every):
                    run.history[-1]["readout"] = readout(run.ema.module, data)
        run.seconds += time.perf_counter() - started
        run.mid_step = False
        yield run


def _out_of_memory(run: Run, free: int) -> InputError:
    config, shape = run.config, tuple(run.data["sample_shape"])
    like = run.model.cpu() if run.network else build_model(config.model, shape, len(run.data["classes"]))
    return out_of_memory(config, like, shape, free, run.environment["precision"] == "bf16")


def prepare(
    config: TrainConfig | None,
    data: SSLData | None,
    model: nn.Module | None,
    resume: str | PathLike | None,
    progress: bool,
) -> tuple[Run, SSLData]:
    """A new or a resumed run and its data on its device; raises InputError where they contradict each other."""
    if resume is not None:
        run = Run.load(resume, device=None, model=model)
        changed = {} if config is None else run.config.differences(config)
        if set(changed) == {"dataset"} and not set(changed["dataset"]) & set(NAMES):
            run.config, changed = config, {}  # a folder may have moved: what counts is that its images are the same
        if changed:
            others = ", ".join(f"{k}={theirs!r} (saved: {ours!r})" for k, (ours, theirs) in changed.items())
            raise InputError(
                f"{resume} was started with other settings: {others}. Leave them out to resume, or start a new run."
            )
        if (saved := run.environment.get("processes", 1)) != world_size():
            how = f"torchrun --nproc_per_node={saved}" if saved > 1 else "without torchrun"
            raise InputError(f"{resume} was started on {saved} processes, here are {world_size()}; resume it {how}.")
        if run.environment["torch"] != str(torch.__version__):
            warnings.warn(
                f"{resume} was started under torch {run.environment['torch']}: the last bits may differ", stacklevel=3
            )
        config = run.config
    elif config is None:
        raise InputError("train needs a TrainConfig, or resume=PATH of a saved run.")
    check_shares(config.batch_size)
    if world_size() > 1 and config.cuda_graphs:
        raise InputError("cuda_graphs=True is for one process; leave it out with torchrun.")
    if world_size() > 1 and config.variant.noise in ("confusion", "low_confidence"):
        raise InputError(
            f"noise={config.variant.noise!r} looks at the whole batch, which no process sees; use 'uniform' or 'pair' with "
            "torchrun."
        )
    if data is None:
        with rank_0_first():
            data = data_of(config, progress and rank() == 0)
    else:
        check_agreement(config, data)
    check_fit(config, data)
    device = pick_device(config.device) if resume is None else run.environment["device"]
    about = {
        "name": data.name,
        "classes": list(data.classes),
        "sample_shape": list(data.sample_shape),
        "num_labels": data.num_labels,
        "fingerprint": data.fingerprint,
        "checksum": data.checksum,
        "mean": data.mean.tolist(),
        "std": data.std.tolist(),
        "image_size": data.image_size,
    } | ({"copy": data.copy} if data.copy else {})
    if resume is None:
        run = Run.start(config, about, device, model)
    else:
        by = "checksum" if "checksum" in run.data else "fingerprint"  # of all samples; earlier versions knew the labelled ones
        if run.data[by] != about[by]:
            raise InputError(
                f"{resume} was trained on other data, or another split of them, than {data.name!r} has now ({by} {run.data[by]}, "
                f"now {about[by]}); give it the data it had."
            )
        run.data = about
    device = torch.device(device)
    if "precision" not in run.environment:
        bf16 = on_every_process(precision_of(config.precision, device) == "bf16", device)
        run.environment["precision"] = "bf16" if bf16 else "float32"
    elif run.environment["precision"] == "bf16" and not has_bf16(device):
        warnings.warn(f"{resume} was started in bf16, which is only emulated here, slowly", stacklevel=3)
    return run, data.to(device)


def data_of(config: TrainConfig, progress: bool = False) -> SSLData:
    """The data that a config names, split as it says."""
    return load_data(
        config.dataset,
        config.num_labels,
        num_val=config.num_val,
        seed=config.seed,
        flip=config.flip,
        progress=progress,
        **{name: getattr(config, name) for name in OF_FOLDERS},
    )


def check_fit(config: TrainConfig, data: SSLData) -> None:
    """Raise InputError where a run with this config could not be trained on these data, before anything is."""
    if config.readout_every is not None:
        check_readout(data)  # now, not when the first one is due
    N, pool = config.mu * config.batch_size, len(data.x_unlabelled)
    if config.switches.unlabelled and N > pool:
        raise InputError(
            f"a step takes {N} unlabelled samples (mu={config.mu} times batch_size={config.batch_size}), and there are only "
            f"{pool}; give a smaller mu or batch_size."
        )
    if config.batch_size > (most := max(4096, len(data.x_labelled))):
        raise InputError(
            f"batch_size={config.batch_size} draws {len(data.x_labelled)} labelled samples again and again; give at most {most}."
        )


def check_agreement(config: TrainConfig, data: SSLData) -> None:
    """Own data and config must say the same; only the seed of the split is free."""
    every = len(data.y_unlabelled) if data.truth_known else int((data.y_unlabelled >= 0).sum())
    same = os.path.abspath(config.dataset) == os.path.abspath(data.name)  # a folder's name is its path
    said = {"num_labels": (config.num_labels or every, data.num_labels)}
    if not same:
        said["dataset"] = (config.dataset, data.name)
    if config.flip is not None:
        said["flip"] = (config.flip, data.flip)
    if config.image_size is not None:
        said["image_size"] = (config.image_size, data.image_size)
    if config.num_val:
        said["num_val"] = (config.num_val, data.num_val)
    for name, (of_config, of_data) in said.items():
        if of_config != of_data:
            raise InputError(f"{name}={of_config!r} in the config, but the data have {of_data!r}; make them agree.")
