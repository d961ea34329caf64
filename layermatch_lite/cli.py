"""The command line: `python -m layermatch_lite demo | train | predict | course | predictions | doctor`."""

from __future__ import annotations

import argparse
import io
import os
import re
import shlex
import sys
import warnings
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path
from typing import get_type_hints

from .errors import InputError

try:
    from .data.folders import UNLABELLED
    from .data.sets import NAMES, OF_FOLDERS, check_dataset
    from .runs.config import PRESETS, TrainConfig
    from .runs.device import pick_device
    from .system import check_writable, printable, reserved
    from .variants.settings import Variant
except (ImportError, OSError) as error:  # nothing works without torch; OSError: a library of it is missing
    sys.exit(f"layermatch-lite: {error}; python -m pip install --force-reinstall torch torchvision")

STORY = """\
LayerMatch (arXiv 2406.14207) in a package small enough to read; unofficial.

A few labels, many unlabelled samples. FixMatch lets the network label the unlabelled ones itself: where it is
confident on a weakly changed view (above tau), that guess becomes the target for a strongly changed view.
Some guesses are wrong. LayerMatch asks which layers they hurt: Grad-ReLU keeps them out of the linear
classifier, Avg-Clustering pulls the features towards averaged, stable class centres.
"""

DEMO = """\
Train three methods with the same labels, initial weights and steps, one process per core:

  supervised   the few labels only (the fair baseline: as many steps, and a recipe of its own)
  fixmatch     pseudo-labels train every layer alike
  layermatch   pseudo-labels train the features only, against averaged centres

Opens on digits with one label per class, where pseudo-labels are worst, each method with its own recipe. Prints tables
of accuracies, of what the features know and the classifier says, and of the alignment of each layer with the true
gradient, and draws all three as a figure. On the default data it takes about a minute on two cores.
"""

TRAIN = """\
Train one model and save the run: settings, history and weights, in one file. Ctrl-C stops cleanly, and
`--resume PATH` continues to exactly the result that an uninterrupted run would have had.

  layermatch-lite train --method fixmatch --num-labels 40
  layermatch-lite train --preset paper --seed 1
  layermatch-lite train --dataset path/to/images --image-size 32 --test-share 0.2
  layermatch-lite train --resume runs/mnist1d-fixmatch-40-labels-seed-0.pt
  torchrun --standalone --nproc_per_node=2 -m layermatch_lite train --preset paper

The last line shares each batch between two GPUs and gives the run of one, but for rounding (on CPUs, BatchNorm differs, too).

Settings you leave out come from the recipe of the data set and, but for image folders, of the method. Recipes were chosen on
validation samples; the first line of the output says which one it is. On a GPU, CIFAR-10 and folders start from the preset
classroom_gpu_short.
Losses: L_s is the cross-entropy on labelled samples, L_u that on pseudo-labels over tau; L = L_s + lambda_u L_u.
"""

PREDICT = """\
Write a CSV file with the class and the confidence of every image in a folder, by a run of `train`.

  layermatch-lite predict runs/images-layermatch-all-labels-seed-0.pt path/to/images/unlabelled

Images are read as in training: of the same size, or scaled and cropped where the run was trained with --image-size.
"""

COURSE = """\
Copy the course's notebooks into a folder, with the results of their last run. What is already in the folder is kept.

  layermatch-lite course my-course
  layermatch-lite course for-class --without-results
  layermatch-lite course solved --solved

Then open the folder: jupyter lab my-course
"""


class Parser(argparse.ArgumentParser):
    """Says what is wrong in one line."""

    def error(self, message: str):
        self.exit(2, f"{self.prog}: {message} (see {self.prog} --help)\n")


def main(arguments: list[str] | None = None) -> int:
    """Run one command; returns the exit status."""
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:  # closed by whoever started this; what is written goes nowhere
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))
        if isinstance(stream := getattr(sys, name), io.TextIOWrapper):  # a τ on a console that has none becomes "?"
            stream.reconfigure(errors="replace")
    args = parser().parse_args(arguments)
    with warnings.catch_warnings():
        warnings.showwarning = lambda message, *_: say(f"note: {' '.join(str(message).split())}", sys.stderr)
        try:
            return args.run(args)
        except BrokenPipeError:  # `| head` has seen enough
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return 1
        except (InputError, FloatingPointError, OSError) as error:
            say(f"layermatch-lite: {error}", sys.stderr)
            return 1
        except KeyboardInterrupt:
            say("\nlayermatch-lite: stopped.", sys.stderr)
            return 130


def say(text: str, file=None) -> None:
    """Print a text that may hold names and words from other people's files: nothing in it moves a terminal's cursor."""
    print("\n".join(map(printable, text.split("\n"))), file=file, flush=True)


def parser() -> argparse.ArgumentParser:
    top = Parser("layermatch-lite", description=STORY, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = top.add_subparsers(title="commands", metavar="COMMAND", dest="command", required=True)

    def command(name: str, run, summary: str, description: str) -> argparse.ArgumentParser:
        p = commands.add_parser(
            name, help=summary, description=description, formatter_class=argparse.RawDescriptionHelpFormatter
        )
        p.set_defaults(run=run)
        return p

    demo = command("demo", run_demo, "three methods compared in a minute: tables and a figure", DEMO)
    add_settings(demo, ("dataset", "num_labels", "flip", *OF_FOLDERS, "steps", "batch_size", "threshold", "lr", "seed"))
    demo.add_argument("--seeds", type=int, default=3, help="number of paired seeds, from --seed upwards (default: 3)")
    demo.add_argument("--workers", type=int, help="processes (default: one per core)")
    demo.add_argument("--out", type=Path, default=Path("out"), help="folder for demo.png and demo.json (default: out)")

    train = command("train", run_train, "train one model, save or resume it", TRAIN)
    train.add_argument("--preset", help=f"settings to start from: {', '.join(PRESETS)} (default: demo_cpu)")
    train.add_argument("--out", type=Path, help="new file for the run (default: runs/<data>-<method>-...pt)")
    train.add_argument("--resume", type=Path, metavar="PATH", help="continue a saved run")
    add_settings(train.add_argument_group("settings"), [f.name for f in fields(TrainConfig)])
    add_settings(train.add_argument_group("settings for study"), [f.name for f in fields(Variant)], Variant)

    predict = command("predict", run_predict, "what a trained run says of the images in a folder, as a CSV file", PREDICT)
    predict.add_argument("saved", type=Path, metavar="RUN", help="a file that `train` wrote")
    predict.add_argument("folder", type=Path, metavar="FOLDER", help="with images, as deep as you like")
    out = Path("predictions.csv")
    predict.add_argument("--out", type=Path, default=out, help=f"new file for the predictions (default: {out})")
    predict.add_argument("--skip-broken", action="store_true", help="leave out images that cannot be decoded, and say how many")

    course = command("course", run_course, "the notebooks, copied into a folder of your own", COURSE)
    course.add_argument("folder", type=Path, metavar="DIR", help="for the notebooks; made if it is not there")
    edition = course.add_mutually_exclusive_group()
    edition.add_argument("--without-results", action="store_true", help="leave results out, for readers who predict them")
    edition.add_argument("--solved", action="store_true", help="fill the exercises in; without results, too")

    predictions = command(
        "predictions",
        run_predictions,
        "one picture for each question that a class has answered",
        "Draw what a class predicted, and what came out: one picture for each question of all students' files in a folder "
        "(my_predictions.json, renamed: ada.json, ...). Nothing in the folder is changed.",
    )
    predictions.add_argument("folder", type=Path, help="where the files are")
    out = Path("out/predictions")
    predictions.add_argument("--out", type=Path, default=out, help=f"for the pictures (default: {out})")

    doctor = command(
        "doctor",
        run_doctor,
        "what is installed, what is missing, how to fix it",
        "Print versions, device, widgets and data found, and a one-line fix for whatever is missing.",
    )
    doctor.add_argument(
        "--warm", action="store_true", help="fill every cache (numba, UMAP, fonts, data) before a class"
    )
    return top


def add_settings(group, names, of=TrainConfig) -> None:
    """One option per setting of TrainConfig or Variant; only those given appear in the parsed arguments."""
    types = get_type_hints(of)
    for f in fields(of):
        if f.name not in names or "help" not in f.metadata:
            continue
        help_text = f.metadata["help"] + ("" if f.default is None else f" (default: {f.default})")
        option = {"default": argparse.SUPPRESS, "help": help_text}
        if bool in (types[f.name], *getattr(types[f.name], "__args__", ())):
            group.add_argument(f"--{f.name.replace('_', '-')}", action=argparse.BooleanOptionalAction, **option)
        else:
            group.add_argument(f"--{f.name.replace('_', '-')}", type=reader(f.name, types[f.name]), **option)


def reader(name: str, kind):
    """The function that reads a setting from the command line."""
    base = next(t for t in (int, float, str) if t in (kind, *getattr(kind, "__args__", ())))

    def read(text: str):
        return None if name == "num_labels" and text == "all" else base(text)

    read.__name__ = base.__name__  # argparse names it in its message
    return read


def given_settings(args: argparse.Namespace) -> dict:
    names = [f.name for f in (*fields(TrainConfig), *fields(Variant))]
    return {name: getattr(args, name) for name in names if hasattr(args, name)}


def few_labels(dataset: str) -> dict:
    """Settings for a folder that holds unlabelled/: every label there is, for these are few."""
    there = dataset and dataset not in NAMES and any(os.path.isdir(os.path.join(dataset, name)) for name in UNLABELLED)
    return {"num_labels": None} if there else {}


def preset_for(dataset: str, device: str) -> str:
    """The preset to start from where none is named."""
    if TrainConfig(dataset=dataset).recipe == "photographs" and pick_device(device).type == "cuda":
        return "classroom_gpu_short"
    return "cifar_cpu" if dataset == "cifar10" else "demo_cpu"


def started_from(config: TrainConfig, preset: str, given: dict) -> str:
    """Where the settings that were not given come from, in words."""
    if preset != "demo_cpu":
        return f"settings: preset {preset}"
    borrowed = f", which {config.dataset} borrows" if config.recipe == "mnist1d" != config.dataset else ""
    recipe = ", ".join(f"{k} {v:g}" for k, v in config.recipe_settings.items() if hasattr(config, k) and k not in given)
    return f"settings: recipe for {config.recipe}{borrowed} ({recipe})"


def run_demo(args: argparse.Namespace) -> int:
    from .studies import demo

    settings = given_settings(args)
    settings = few_labels(settings.get("dataset", "")) | settings
    configs = {method: demo.demo_config(method, **settings) for method in demo.METHODS}
    own = {m: {k: v for k, v in config.own_recipe.items() if k not in settings} for m, config in configs.items()}
    say(started_from(configs["fixmatch"], "demo_cpu", settings | own["fixmatch"]))
    if any(own.values()):
        words = [f"{method} {k} {v:g}" for method, chosen in own.items() for k, v in chosen.items()]
        print("every method's own:", ", ".join(words), flush=True)
    figures = drawing()  # before training: what cannot draw is known before it has cost a minute
    from .studies import report

    check_writable(args.out, "--out")
    picture, numbers = args.out / "demo.png", args.out / "demo.json"
    with reserved(numbers):
        outcomes = demo.run_demo(args.seeds, workers=args.workers, **settings)
        try:
            report.write(outcomes, numbers)
        finally:  # a full disk must not cost the tables, nor a table that fails the numbers
            say(report.as_text(outcomes))
        figure, alt = figures.comparison_figure(outcomes)
        report.write(outcomes, numbers, alt)
        figures.save(figure, picture)
    say(f"Figure: {picture}   Numbers: {numbers}")
    if not settings.keys() & {"dataset", "num_labels"}:
        print("One label per class: where pseudo-labels are worst. On digits with 40 labels and more, FixMatch and LayerMatch")
        print("can hardly be told apart (docs/results.md).")
    return 0


def drawing():
    """The figures. Raises InputError where this machine cannot draw."""
    try:
        from . import figures
    except (ImportError, ValueError) as error:  # matplotlib's, for a backend that there is not
        raise InputError(f"pictures cannot be drawn here ({error}); unset MPLBACKEND, or see layermatch-lite doctor.") from error
    return figures


def run_train(args: argparse.Namespace) -> int:
    from .runs.parallel import processes

    with processes(device_of(args)):
        return train_here(args)


def device_of(args: argparse.Namespace) -> str:
    """The device that `train` will be asked for: as given, as the saved run has it, or as the preset says."""
    from .runs.run import Run

    if args.resume:
        return Run.load(args.resume).environment["device"]
    if args.preset is None:
        return getattr(args, "device", "auto")
    return TrainConfig.preset(args.preset, **given_settings(args)).device


def train_here(args: argparse.Namespace) -> int:
    """`train`, on this process and those that torchrun started beside it; one of them reports."""
    from .runs.parallel import rank, world_size
    from .runs.run import Run
    from .runs.train import train

    settings = given_settings(args)
    if args.resume:
        if args.out is not None or args.preset is not None:
            raise InputError("--resume continues in the same file with its own settings; leave out --out and --preset.")
        config = Run.load(args.resume).config.changed(**settings)
        path = args.resume
        run = train(config, resume=path, progress=True)
    else:
        preset, given = args.preset, tuple(settings)
        if preset is None:
            settings = {"dataset": "mnist1d", "device": "auto"} | settings
            preset = preset_for(settings["dataset"], settings["device"])
            settings = few_labels(settings["dataset"]) | settings
            if preset == "classroom_gpu_short" and settings["dataset"] != "cifar10":
                settings = {"num_labels": 20} | settings  # a folder has its own number of classes
        config = TrainConfig.preset(preset, **settings)
        check_dataset(config.dataset)
        if rank() == 0:
            say(started_from(config, preset, settings))
        path = args.out or default_file(config, [args.preset or "", *given])
        run = train(config, save=path, progress=True)
    if rank() > 0:
        return 0 if run.finished else 130
    if not run.finished:
        command = "layermatch-lite" if world_size() == 1 else f"torchrun --nproc_per_node={world_size()} -m layermatch_lite"
        say(f"stopped at step {run.step} of {config.steps}; continue with: {command} train --resume {shlex.quote(str(path))}")
        return 130
    last = run.history[-1]
    say(
        f"{config.method} on {config.dataset}, {run.data['num_labels']} labels, seed {config.seed}: "
        f"test accuracy {run.accuracy:.4f} (EMA model), median of the last 20 evaluations {run.median_accuracy:.4f}"
    )
    if last.get("pseudo_label_accuracy") is not None:
        rate, right = last["mask_rate"], last["pseudo_label_accuracy"]
        say(f"pseudo-labels over the threshold: {rate:.1%} of samples, {right:.1%} of them right")
    elif last.get("mask_rate"):
        say(f"pseudo-labels over the threshold: {last['mask_rate']:.1%} of samples; how many are right is unknown")
    took = f"{run.seconds:.0f} s on {run.environment['device']}"
    if run.saved != run.step:
        say(f"{took}; not saved: {path} holds step {run.saved}")
        return 1
    say(f"{took}; saved to {path}")
    return 0


def default_file(config: TrainConfig, given: Sequence[str]) -> Path:
    """Where a run goes that was given no place: a name that tells it from runs with other settings.

    given: the preset and the settings that the user gave.
    """
    name = f"{Path(config.dataset).name}-{config.method}-{config.labels}-labels-seed-{config.seed}"
    said = config.as_dict()
    for setting in given:
        if setting and setting not in ("dataset", "method", "num_labels", "seed", "device"):
            value = said.get(setting)
            option = f"{'no-' if value is False else ''}{setting.replace('_', '-')}"
            name += f"-{option}" if isinstance(value, bool) or setting not in said else f"-{option}-{value}"
    safe = re.sub(r"[^\w.-]+", "-", name)
    return Path("runs", f"{safe[:180].strip('-.')}.pt")


def run_predict(args: argparse.Namespace) -> int:
    from .runs.inference import predict_folder
    from .runs.run import Run

    found = predict_folder(Run.load(args.saved), args.folder, args.out, skip_broken=args.skip_broken, progress=True)
    counts = ", ".join(f"{name} {n}" for name, n in found.counts.items())
    say(f"{found.files} images: {counts}; least sure: {found.least_sure[0]} ({found.least_sure[1]:.2f})")
    say(f"saved to {args.out}")
    return 0


def run_course(args: argparse.Namespace) -> int:
    from .course.editions import copy_course

    edition = "solved" if args.solved else "without results" if args.without_results else "with results"
    for line in copy_course(args.folder, edition):
        say(line)
    return 0


def run_predictions(args: argparse.Namespace) -> int:
    drawing()
    from .course.predictions import draw_class

    check_writable(args.out, "--out")
    for line in draw_class(args.folder, args.out):
        say(line)
    return 0


def run_doctor(args: argparse.Namespace) -> int:
    from .runs import doctor

    return doctor.examine(failed=doctor.warm() if args.warm else [])
