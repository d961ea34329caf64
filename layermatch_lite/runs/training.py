"""The training loop. `train_steps` is the loop, to be driven step by step; `train` runs it to its end."""

from __future__ import annotations

import math
import time
import warnings
from collections.abc import Callable, Iterator
from os import PathLike
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..data.augment import Views, operate
from .config import TrainConfig
from ..data.sets import SSLData, load_data
from .device import (
    ahead,
    autocast,
    compiled,
    free_memory,
    has_bf16,
    out_of_memory,
    pick_device,
    side_stream,
    warn_without_bf16,
)
from ..errors import InputError, check_choice
from ..core.losses import PseudoLabelLoss, linear, pseudo_label_loss, unlabelled_loss
from ..variants.noise import injected
from .parallel import (
    average_gradients,
    check_shares,
    mean_over_processes,
    min_over_processes_,
    own,
    rank,
    rank_0_first,
    shared_features,
    shared_model,
    sum_over_processes_,
    world_size,
)
from ..core.probe import layers, measure
from .run import Run, cosine_schedule
from ..core.strategies import gate


class NonFiniteLoss(FloatingPointError):
    """The loss became NaN or infinite; the message names the step, the learning rate and the last good values."""


def train(
    config: TrainConfig | None = None,
    data: SSLData | None = None,
    *,
    save: str | PathLike | None = None,
    resume: str | PathLike | None = None,
    progress: bool = False,
) -> Run:
    """Train to the end and return the run.

    Args:
        config: the settings; may be left out when resuming.
        data: your own split, or None to load what config.dataset names.
        save: a new file, brought up to date at every record of the history.
        resume: a saved run to go on with, in place; its history comes out as if it had never stopped.
        progress: show a bar with the latest record.

    Ctrl-C ends training early: the run comes back with every record so far, to look at; to go on, resume from the file,
    which holds the state at the last record.

    Inside `parallel.processes` it is one run on several processes; what rank 0 returns and saves is the run.

    A file that can no longer be written (a full disk) is named in a warning, and training goes on: `run.saved` tells which
    step the file holds.

    Raises:
        InputError: settings, data, files or a GPU's memory that do not fit. NonFiniteLoss: training diverged.
    """
    from tqdm import tqdm

    first = rank() == 0  # of several processes, one writes the file
    if save is not None and Path(save).exists():
        raise InputError(
            f"{save} exists already and is kept; go on with it (--resume, resume=), or choose another place (--out, save=)."
        )
    path = resume if save is None else save
    run = None
    with tqdm(unit=" steps", disable=not (progress and first)) as bar:
        try:
            for n, run in enumerate(train_steps(config, data, resume=resume, progress=progress)):
                if n == 0 and save is not None:
                    run.saved = None  # the new file holds nothing yet
                if first and path is not None and (run.step == 0 or run.just_logged):
                    keep(run, path)
                bar.total = run.config.steps
                bar.update(run.step - bar.n)
                if run.just_logged:
                    bar.set_postfix(accuracy=f"{run.accuracy:.3f}", refresh=False)
        except KeyboardInterrupt:
            if run is None:
                raise
    return run


def keep(run: Run, path: str | PathLike) -> None:
    """Save the run. A disk that is full in the middle of a long run does not end it: the file keeps the record before."""
    try:
        run.save(path)
    except InputError as error:
        if run.saved is None:
            raise
        told = "nothing more will be saved" if run.finished else "training goes on, and the next record is saved if it can be"
        warnings.warn(f"step {run.step}: {error} The file holds step {run.saved}; {told}.", stacklevel=3)


def train_steps(
    config: TrainConfig | None = None,
    data: SSLData | None = None,
    *,
    resume: str | PathLike | None = None,
    progress: bool = False,
) -> Iterator[Run]:
    """The loop, for whoever wants to watch or stop it: `for run in train_steps(config): ...`

    Yields one and the same Run before its first step and after every step, each time further on; a `break` stops training.
    Arguments and errors are those of `train`; nothing is saved unless you call `run.save`, where run.just_logged.
    """
    run, data = prepare(config, data, resume, progress)
    config, model, switches = run.config, shared_model(run.model), run.config.switches
    classifier = model.classifier
    device = data.x_unlabelled.device
    # Compiled operations of a CPU would compute what `everywhere` does, which takes longer there.
    views = Views(data, compiled(operate) if config.compile and device.type == "cuda" else operate)
    features = compiled(model.features, cuda_graphs=config.cuda_graphs) if config.compile else model.features
    features = shared_features(model, features)
    g_x, g_u = run.generators["labelled"], run.generators["unlabelled"]
    N = config.mu * config.batch_size

    def draw() -> tuple:
        batch = labelled_batch(data, views, config, g_x)
        batch += unlabelled_batch(data, views, N, g_u) if switches.unlabelled else ()
        return tuple(map(own, batch))

    # Where a record ends the step, the run may be saved: its random streams must not have run ahead then.
    batches = ahead(draw, lambda: not run.recorded_at(run.step + 1), side_stream(device))
    free = free_memory(device)
    noise = injected_noise(config, data)
    blocked = blocked_parameters(config, model)
    meter = Meter(len(data.classes), device)
    threads = torch.get_num_threads()
    torch.set_num_threads(run.environment["threads"])  # sums come out the same only with as many threads
    model.train()
    try:
        yield run
        while run.step < config.steps:
            started, run.mid_step = time.perf_counter(), True
            x, y, *unlabelled = next(batches)
            if config.cuda_graphs:
                torch.compiler.cudagraph_mark_step_begin()  # both passes of a step keep their outputs until the next step
            if switches.unlabelled:
                weak, strong, i = unlabelled
            if not config.joint_forward:
                with torch.no_grad(), autocast(device):
                    z_weak = features(weak)
            with autocast(device):
                if not switches.unlabelled:
                    z_x = features(x)
                elif config.joint_forward:
                    z_x, z_weak, z_strong = features(torch.cat([x, weak, strong])).split([len(x), len(weak), len(strong)])
                else:
                    z_x, z_strong = features(torch.cat([x, strong])).split([len(x), len(strong)])

            L_s = F.cross_entropy(linear(z_x, classifier.weight, classifier.bias), y)
            L_u = torch.zeros_like(L_s)
            if switches.unlabelled:
                if run.freematch is not None:
                    run.freematch.update(linear(z_weak.detach(), classifier.weight, classifier.bias))
                out = pseudo_label_loss(
                    z_weak,
                    z_strong,
                    classifier,
                    threshold=run.threshold,
                    centers=run.centers,
                    grad_relu="block" if switches.grad_relu == "gate" else switches.grad_relu,
                    labels_from=config.labels_from,
                    classifier_weight=config.classifier_weight,
                    fairness=run.fairness,
                    noise=noise(i),
                )
                L_u = out.loss
                meter.add_pseudo_labels(out, data.y_unlabelled[i])
            meter.add_losses(run.step, L_s, L_u)

            kept = torch.autograd.grad(L_s, blocked, retain_graph=True) if blocked else ()
            run.optimizer.zero_grad()
            (L_s + config.lambda_u * L_u).backward()
            average_gradients(classifier.parameters())
            for parameter, g in zip(blocked, kept):
                parameter.grad = mean_over_processes(g)  # L_s alone teaches a blocked layer; the layers below keep both gradients
            if switches.grad_relu == "gate":
                add_gated_gradient(classifier, z_strong, out, config.lambda_u, run.fairness)
            run.optimizer.step()
            run.schedule.step()
            run.ema.update_parameters(model)
            if run.centers is not None:
                run.centers.update(classifier)

            run.step += 1
            if run.recorded_at(run.step):
                run.history.append(meter.read(run, N) | evaluate(run, data, views))
                if run.due(config.probe_every):
                    run.history[-1]["layer_benefit"] = measure_layer_benefit(run, data, views, run.generators["probe"])
            run.seconds += time.perf_counter() - started
            run.mid_step = False
            yield run
    except torch.OutOfMemoryError:
        if free is None:
            raise
        x = y = unlabelled = weak = strong = z_x = z_weak = z_strong = L_s = L_u = out = None  # the error must not hold them
        raise out_of_memory(config, data.sample_shape, len(data.classes), free, has_bf16(device)) from None
    finally:
        torch.set_num_threads(threads)


def labelled_batch(data: SSLData, views: Views, config: TrainConfig, g: torch.Generator) -> tuple[Tensor, Tensor]:
    """(B, ...) views and (B,) labels; the first share `strong_labelled` in the strong view. Drawn with replacement."""
    i = torch.randint(len(data.x_labelled), (config.batch_size,), generator=g, device=g.device)
    x, k = data.x_labelled[i], round(config.strong_labelled * config.batch_size)
    parts = [views.strong(x[:k], g)] if k else []  # no views of no samples: compiled code would compile for them
    if k < len(x):
        parts.append(views.weak(x[k:], g))
    return torch.cat(parts), data.y_labelled[i]


def unlabelled_batch(data: SSLData, views: Views, n: int, g: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
    """(n, ...) weak and strong views of the same samples, and where in the unlabelled pool these samples are: (n,) int64."""
    i = torch.randint(len(data.x_unlabelled), (n,), generator=g, device=g.device)
    u = data.x_unlabelled[i]
    return views.weak(u, g), views.strong(u, g), i


def injected_noise(config: TrainConfig, data: SSLData) -> Callable:
    """at(indices) -> the function that spoils these samples' pseudo-labels, or None where the config has no noise."""
    if config.noise is None:
        return lambda i: None
    pool = data.y_unlabelled
    return injected(config.noise, config.noise_rate or 0.0, config.seed, len(pool), len(data.classes), pool.device)


def blocked_parameters(config: TrainConfig, model: nn.Module) -> list[nn.Parameter]:
    """The parameters of the layers that config.blocked names."""
    if config.blocked is None:
        return []
    groups = layers(model, model.classifier)
    names = [name.strip() for name in config.blocked.split(",")]
    for name in names:
        check_choice("blocked", name, groups)
    return [p for name in names for p in groups[name]]


def add_gated_gradient(
    classifier: nn.Linear,
    z_strong: Tensor,
    out: PseudoLabelLoss,
    lambda_u: float,
    fairness: Callable | None = None,
) -> None:
    """Grad-ReLU "gate": add gate(g_u, g_s) to the classifier's gradient.

    Call it after the backward pass of L_s + lambda_u L_z: L_z does not reach the classifier, so its `.grad` is g_s.
    """
    parameters = list(classifier.parameters())
    logits = linear(z_strong.detach(), classifier.weight, classifier.bias)
    L_W = unlabelled_loss(logits, out.labels, out.mask, fairness)
    g_u = mean_over_processes(torch.cat([g.flatten() for g in torch.autograd.grad(lambda_u * L_W, parameters)]))
    g_s = torch.cat([p.grad.flatten() for p in parameters])
    for p, g in zip(parameters, gate(g_u, g_s).split([p.numel() for p in parameters])):
        p.grad += g.view_as(p)


class Meter:
    """Sums of what the steps since the last record produced, kept on the device and read once in a while."""

    def __init__(self, num_classes: int, device: torch.device):
        self.num_classes, self.device = num_classes, device
        self.reset()

    def reset(self) -> None:
        self.steps = 0
        self.losses = torch.zeros(2, device=self.device)
        self.masked, self.right, self.right_half = torch.zeros(3, device=self.device).unbind()
        self.counts = torch.zeros(self.num_classes, device=self.device)
        self.first_bad = torch.full((), torch.inf, device=self.device)

    @torch.no_grad()
    def add_losses(self, step: int, L_s: Tensor, L_u: Tensor) -> None:
        losses = torch.stack([L_s, L_u])
        self.first_bad = torch.where(losses.isfinite().all(), self.first_bad, self.first_bad.clamp(max=step))
        self.losses += losses
        self.steps += 1

    @torch.no_grad()
    def add_pseudo_labels(self, out: PseudoLabelLoss, y_true: Tensor) -> None:
        right = out.labels == y_true
        self.masked += out.mask.sum()
        self.right += (out.mask & right).sum()
        self.right_half += right[out.confidence.topk(len(right) // 2).indices].sum()
        self.counts.index_add_(0, out.labels, out.mask.to(self.counts.dtype))

    def read(self, run: Run, n: int) -> dict:
        """The part of a record that training itself yields; raises NonFiniteLoss; starts the next sums."""
        for total in (self.losses, self.masked, self.right, self.right_half, self.counts):
            sum_over_processes_(total)
        bad = float(min_over_processes_(self.first_bad))
        if math.isinf(bad) and not all(p.isfinite().all() for p in run.model.parameters()):
            bad = run.step  # the last update spoilt the weights; the next loss would show it
        if math.isfinite(bad):
            bad = int(bad)
            last = run.history[-1] if run.history else None
            good = (
                f"at step {last['step']} they were {last['loss_s']:.4g} and {last['loss_u']:.4g}"
                if last
                else "there was no record before"
            )
            raise NonFiniteLoss(
                f"the loss became NaN or infinite at step {bad} (learning rate {run.config.lr:g}, "
                f"{run.config.lr * cosine_schedule(bad, run.config.steps):.4g} at that step); last good labelled and unlabelled "
                f"losses: {good}. Try a smaller lr; what was saved before is unharmed."
            )
        L_s, L_u = (self.losses / (self.steps * world_size())).tolist()
        record = {"step": run.step, "lr": run.schedule.get_last_lr()[0], "loss_s": L_s, "loss_u": L_u}
        if run.config.switches.unlabelled:
            masked, half = float(self.masked), n // world_size() // 2 * world_size()  # each process halves its own share
            record |= {
                "mask_rate": masked / (self.steps * n),
                "pseudo_label_accuracy": float(self.right) / masked if masked else None,
                "confident_half_accuracy": float(self.right_half) / (self.steps * half) if half else None,
                "pseudo_label_counts": [int(c) for c in self.counts.tolist()],
            }
            if run.freematch is not None:
                record["thresholds"] = run.freematch.thresholds.tolist()
        self.reset()
        return record


def evaluate(run: Run, data: SSLData, views: Views) -> dict:
    """Accuracy of the EMA model on the test part, and on the validation part where there is one."""
    result = {"accuracy": accuracy(run.ema.module, views, data.x_test, data.y_test)}
    if data.num_val:
        result["val_accuracy"] = accuracy(run.ema.module, views, data.x_val, data.y_val)
    return result


def accuracy(model: nn.Module, views: Views, x: Tensor, y: Tensor) -> float:
    """Share of right predictions on samples without augmentation; the model must be in eval mode."""
    return int((predictions(model, views, x) == y).sum()) / len(y)


@torch.no_grad()
def predictions(model: nn.Module, views: Views, x: Tensor, batch: int = 1000) -> Tensor:
    """(N,) int64: the most probable class of each sample, without augmentation; the model must be in eval mode."""
    with autocast(x.device):
        return torch.cat([model(views.plain(part)).argmax(dim=1) for part in x.split(batch)])


def measure_layer_benefit(run: Run, data: SSLData, views: Views, g: torch.Generator) -> list[dict]:
    """`probe.measure` of the live model on batches as large as in training, drawn from a stream of their own."""
    config = run.config
    x, y = labelled_batch(data, views, config, g)
    weak, strong, i = unlabelled_batch(data, views, config.mu * config.batch_size, g)
    noise, y_true = injected_noise(config, data)(i), data.y_unlabelled[i]
    return measure(run.model, x, y, weak, strong, y_true, threshold=run.threshold, generator=g, noise=noise)


def prepare(
    config: TrainConfig | None, data: SSLData | None, resume: str | PathLike | None, progress: bool
) -> tuple[Run, SSLData]:
    """A new or a resumed run and its data on its device; raises InputError where they contradict each other."""
    if resume is not None:
        run = Run.load(resume, device=None)
        if config is not None and (changed := run.config.differences(config)):
            told = ", ".join(f"{k}={theirs!r} (saved: {ours!r})" for k, (ours, theirs) in changed.items())
            raise InputError(
                f"{resume} was started with other settings: {told}. Leave them out to resume, or start anew."
            )
        if (saved := run.environment.get("processes", 1)) != world_size():
            how = f"torchrun --nproc_per_node={saved}" if saved > 1 else "without torchrun"
            raise InputError(f"{resume} was started on {saved} processes, here are {world_size()}; go on with it {how}.")
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
    if world_size() > 1 and config.noise in ("confusion", "low_confidence"):
        raise InputError(
            f"noise={config.noise!r} looks at the whole batch, which no process sees; use 'uniform' or 'pair' with torchrun."
        )
    if data is None:
        with rank_0_first():
            data = data_of(config, progress and rank() == 0)
    else:
        check_agreement(config, data)
    device = pick_device(config.device) if resume is None else run.environment["device"]
    N = config.mu * config.batch_size
    if config.switches.unlabelled and N > len(data.x_unlabelled):
        raise InputError(
            f"a step takes {N} unlabelled samples (mu={config.mu} times batch_size={config.batch_size}), and there are only "
            f"{len(data.x_unlabelled)}; give a smaller mu or batch_size."
        )
    about = {
        "name": data.name,
        "classes": list(data.classes),
        "sample_shape": list(data.sample_shape),
        "num_labels": data.num_labels,
        "fingerprint": data.fingerprint,
    } | ({"copy": data.copy} if data.copy else {})
    if resume is None:
        run = Run.start(config, about, device)
    elif run.data != about:
        raise InputError(
            f"{resume} was trained on another split of {run.data['name']!r} than the one at hand "
            f"({run.data['fingerprint']}, now {about['fingerprint']}); give it the data it had."
        )
    warn_without_bf16(torch.device(device))
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
    )


def check_agreement(config: TrainConfig, data: SSLData) -> None:
    """Own data and config must say the same; only the seed of the split is free."""
    every = len(data.y_unlabelled)
    said = {"dataset": (config.dataset, data.name), "num_labels": (config.num_labels or every, data.num_labels)}
    if config.flip is not None:
        said["flip"] = (config.flip, data.flip)
    if config.num_val:
        said["num_val"] = (config.num_val, data.num_val)
    for name, (of_config, of_data) in said.items():
        if of_config != of_data:
            raise InputError(f"{name}={of_config!r} in the config, but the data have {of_data!r}; make them agree.")
