"""What depends on the device: the fast path of a GPU, as far as it can be tested without one, and what goes wrong there."""

import errno
import os
import shutil
import subprocess
import sys
import time
import warnings
from dataclasses import replace
from functools import partial
from unittest.mock import patch

import numpy as np
import pytest
import torch
from torch._subclasses import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode

from layermatch_lite import TrainConfig, load_data, train, train_steps
from layermatch_lite.cli import main as cli
from layermatch_lite.core import methods
from layermatch_lite.data import image_operations as augment
from layermatch_lite.data.sets import split
from layermatch_lite.errors import InputError
from layermatch_lite.models import WideResNet, build_model
from layermatch_lite.runs import device, engine
from layermatch_lite.runs import run as run_module
from layermatch_lite.runs import train as train_module
from layermatch_lite.runs.run import Run

SMALL = TrainConfig(num_labels=10, batch_size=4, mu=2, steps=12, log_every=4, threshold=0.5, device="cpu")
GPP = pytest.mark.skipif(shutil.which("g++") is None, reason="torch.compile needs a C++ compiler")


def images(n=64, side=32, classes=4):
    x = torch.randint(256, (n, 3, side, side), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    y = torch.arange(n) % classes
    return split("images", x, y, x, y, "abcdefgh"[:classes], num_labels=2 * classes)


# --- the step on a GPU, without a GPU --------------------------------------------------------------------------------


class CudaGenerator(torch.Generator):
    device = torch.device("cuda")


class SameStream:
    """A side stream that is none, and counts."""

    def __init__(self, device=None):
        self.started = self.joined = 0

    def start(self, work):
        self.started += 1
        return work()

    def join(self):
        self.joined += 1


@pytest.fixture
def fake_cuda(monkeypatch):
    """CUDA tensors without numbers in them: whatever asks for one (a host synchronisation) or mixes devices raises."""
    data = images()

    def on_cuda(real):
        def make(*args, generator=None, **settings):
            with torch.device("cuda"):
                return real(*args, **settings)

        return make

    for name in ("build_model", "FreeMatch"):
        monkeypatch.setattr(run_module, name, on_cuda(getattr(run_module, name)))
    monkeypatch.setattr(run_module, "generator", lambda *_: CudaGenerator())
    monkeypatch.setattr(train_module, "pick_device", lambda _: torch.device("cuda"))
    monkeypatch.setattr(engine, "side_stream", SameStream)
    monkeypatch.setattr(train_module, "free_memory", lambda _: 10**9)
    monkeypatch.setattr(torch.nn.Module, "to", lambda self, *_, **__: self)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda _=None: "a GPU that is none")
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda *_, **__: True)
    monkeypatch.setattr("torch.cuda.amp.common.amp_definitely_not_available", lambda: False)
    # The engine of the backward pass wants a real device; it asks nothing of the host.
    monkeypatch.setattr(torch.autograd, "grad", lambda _, inputs, **__: [torch.zeros_like(i) for i in inputs])
    monkeypatch.setattr(torch.Tensor, "backward", lambda _: None)
    with warnings.catch_warnings(), FakeTensorMode(allow_non_fake_inputs=True):
        warnings.filterwarnings("ignore", message=".*data pointer of FakeTensor")
        yield data


class NoCopies(TorchDispatchMode):
    """A copy from the host to the device makes the host wait, too (unless its memory is pinned)."""

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        out = function(*args, **(kwargs or {}))
        if "copy" in str(function):
            places = {t.device.type for t in (*args, out) if isinstance(t, torch.Tensor)}
            assert places != {"cpu", "cuda"}, f"{function} between devices"
        return out


KEPT = []  # torch 2.15 crashes in the next test where a model of fake tensors has been freed


def three_steps(data, **settings):
    small = dict(dataset="images", num_labels=8, batch_size=4, mu=2, steps=100, log_every=100, threshold=0.5)
    steps = train_steps(TrainConfig.from_dict(small | settings), data)
    run = next(steps)
    for p in run.model.parameters():
        p.grad = torch.zeros_like(p)
    run.optimizer.zero_grad = lambda: None
    KEPT.append(run)
    with NoCopies():
        for _ in range(3):
            next(steps)
    return run


@pytest.mark.parametrize(
    "settings",
    [
        dict(method="supervised"),
        dict(method="fixmatch"),
        dict(method="fixmatch", joint_forward=False),
        dict(method="fixmatch", strong_labelled=0.0, model="wrn-10-1"),
        dict(method="fixmatch", noise="uniform", noise_rate=0.3),
        dict(method="grad_relu"),
        dict(method="grad_relu", grad_relu="gate"),
        dict(method="avg_clustering"),
        dict(method="avg_clustering", labels_from="centers"),
        dict(method="layermatch"),
        dict(method="layermatch", rescale_centers=True),
        dict(method="freematch"),
        dict(method="freematch", grad_relu="gate", fairness=0.5),
        dict(method="fixmatch", classifier_weight=0.3),
    ],
    ids=lambda s: ", ".join(map(str, s.values())),
)
def test_a_step_on_a_gpu_never_waits_for_it(fake_cuda, settings):
    run = three_steps(fake_cuda, **settings)
    assert {p.device.type for p in run.model.parameters()} == {"cuda"} and run.step == 3


def test_a_counter_that_goes_to_the_gpu_is_noticed(fake_cuda, monkeypatch):
    """What PyTorch's own average does in every step."""
    update = run_module.EMA.update_parameters

    def copying(self, model):
        self.n_averaged.to("cuda")
        update(self, model)

    monkeypatch.setattr(run_module.EMA, "update_parameters", copying)
    with pytest.raises(AssertionError, match="between devices"):
        three_steps(fake_cuda, method="fixmatch")


def test_a_step_that_would_wait_is_noticed(fake_cuda, monkeypatch):
    monkeypatch.setattr(engine, "operate", partial(augment.operate, everywhere=False))
    with pytest.raises(torch._subclasses.fake_tensor.DynamicOutputShapeException):
        three_steps(fake_cuda, method="fixmatch")


def test_features_are_bf16_on_a_gpu_and_losses_are_not(fake_cuda, monkeypatch):
    seen = {}
    real = methods.unlabelled_loss

    def spy(z_strong, classifier, q, **kw):
        loss = real(z_strong, classifier, q, **kw)
        seen.update(z=z_strong.dtype, loss=loss.dtype, confidence=q.confidence.dtype)
        return loss

    monkeypatch.setattr(methods, "unlabelled_loss", spy)
    three_steps(fake_cuda, method="layermatch")
    assert seen == {"z": torch.bfloat16, "loss": torch.float32, "confidence": torch.float32}


# --- augmentation ----------------------------------------------------------------------------------------------------


def drawn(n, operations, g):
    return (
        torch.randint(len(operations), (n,), generator=g),
        torch.randint(1, 10, (n,), generator=g) / 10,
        torch.randint(0, 2, (n,), generator=g) * 2 - 1,
        torch.rand(n, generator=g) < 0.7,
        operations,
    )


@pytest.mark.parametrize("operations", [augment.COLOR_OPERATIONS, augment.GREY_OPERATIONS])
def test_operations_everywhere_and_where_chosen_give_the_same_images(g, operations):
    x = torch.randint(256, (300, 3 if operations is augment.COLOR_OPERATIONS else 1, 32, 32), generator=g, dtype=torch.uint8)
    before, draws = x.clone(), drawn(300, operations, g)
    there, everywhere = (augment.operate(x, *draws, everywhere=e) for e in (False, True))
    assert there.dtype == everywhere.dtype == torch.uint8 and torch.equal(there, everywhere)
    assert torch.equal(x, before) and not torch.equal(x, there)


@pytest.mark.slow
@GPP
def test_compiled_operations_give_the_same_images(g):
    x, draws = torch.randint(256, (64, 3, 32, 32), generator=g, dtype=torch.uint8), drawn(64, augment.COLOR_OPERATIONS, g)
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # a fall-back would be no test
        fast = device.compiled(partial(augment.operate, everywhere=True))(x, *draws)
    eager = augment.operate(x, *draws)
    # The compiler may round a blend the other way where it fuses multiplication and addition.
    assert (fast.int() - eager.int()).abs().max() <= 1 and (fast != eager).float().mean() < 1e-3


# --- work ahead ------------------------------------------------------------------------------------------------------


def test_drawing_ahead_changes_nothing(monkeypatch, tmp_path):
    data = load_data("digits", 10)
    config = replace(SMALL, dataset="digits", probe_every=6)
    plain = train(config, data)
    sides = []
    monkeypatch.setattr(engine, "side_stream", lambda _: sides.append(SameStream()) or sides[-1])
    path = tmp_path / "run.pt"
    for run in train_steps(config, data):
        if run.step == 8:
            run.save(path)
            break
    resumed = train(data=data, resume=path)
    assert resumed.history == train(config, data).history == plain.history
    # Twelve steps; nothing is drawn ahead where the record of step 4, 6, 8 or 12 follows.
    assert sides[-1].started == 12 - 4 == sides[-1].joined


def test_ahead_hands_out_in_order():
    numbers, side = iter(range(100)), SameStream()
    answers = iter([True, True, False, True, False, False])
    work = device.ahead(lambda: next(numbers), lambda: next(answers), side)
    assert [next(work) for _ in range(6)] == list(range(6)) and side.joined == 3 == side.started
    assert [next(work) for work in [device.ahead(lambda: 7, lambda: True, None)] for _ in range(3)] == [7, 7, 7]


# --- departures from the protocol ------------------------------------------------------------------------------------


def test_a_pass_of_their_own_gives_weak_views_their_own_statistics():
    data = images()
    config = replace(SMALL, dataset="images", num_labels=8, method="fixmatch", steps=1, log_every=1, bn_momentum=0.5)
    seen = []
    steps = [train_steps(replace(config, joint_forward=j), data) for j in (True, False)]
    for loop in steps:
        run = next(loop)
        run.model.conv1.register_forward_hook(lambda m, x, y: seen.append((len(x[0]), torch.is_grad_enabled())))
        with patch.object(train_module, "evaluate", lambda *_: {"accuracy": 0.0}):
            next(loop)
        seen.append(int(run.model.conv1[1].num_batches_tracked))
    assert seen == [(4 + 8 + 8, True), 1, (8, False), (4 + 8, True), 2]


def test_the_presets_say_what_departs_from_the_protocol():
    paper = TrainConfig.preset("paper")
    assert paper.joint_forward and not paper.compile and paper.steps == 2**20 and paper.bn_momentum == 0.001
    fast = TrainConfig.preset("classroom_gpu", device="cpu", num_labels=40)
    assert set(paper.differences(fast)) == {"joint_forward", "compile", "bn_momentum", "steps", "log_every", "device"}
    assert TrainConfig.preset("classroom_gpu", method="supervised").joint_forward


# --- what goes wrong -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "settings, named",
    [
        (dict(compile=True, blocked="fc"), "blocked needs two backward passes"),
        (dict(cuda_graphs=True), "cuda_graphs=True records what torch.compile makes"),
        (dict(method="supervised", joint_forward=False), "no weak views"),
        (dict(batch_size=512, mu=7, num_val=1000), r"3584 unlabelled samples \(mu=7 times batch_size=512\).*only 3000"),
    ],
)
def test_settings_that_cannot_be(settings, named):
    with pytest.raises(InputError, match=named):
        next(train_steps(SMALL.changed(**settings)))


def test_compiling_that_fails_is_said_once_and_training_goes_on(monkeypatch):
    def broken(function, **_):
        def call(*_):
            raise RuntimeError("no C++ compiler found")

        return call

    monkeypatch.setattr(torch, "compile", broken)
    with pytest.warns(UserWarning) as words:
        run = train(replace(SMALL, compile=True))
    lines = [str(w.message) for w in words if "torch.compile" in str(w.message)]
    assert len(lines) == 1 and "\n" not in lines[0] and "no C++ compiler found" in lines[0] and "features" in lines[0]
    assert run.history == train(SMALL).history


@pytest.mark.slow
@GPP
def test_compiling_whose_backward_pass_fails_is_said_once_and_training_goes_on(monkeypatch):
    from functorch.compile import make_boxed_func
    from torch._dynamo.backends.common import aot_autograd

    def fails(*_):
        raise RuntimeError("no kernel for this gradient")

    backend = aot_autograd(fw_compiler=lambda graph, _: make_boxed_func(graph.forward), bw_compiler=fails)
    real = torch.compile
    monkeypatch.setattr(torch, "compile", lambda function, **_: real(function, backend=backend, dynamic=False))
    with pytest.warns(UserWarning, match="no kernel for this gradient"):
        run = train(replace(SMALL, compile=True))
    assert run.finished and run.history[-1]["loss_s"] == pytest.approx(train(SMALL).history[-1]["loss_s"], rel=1e-3)


@pytest.mark.slow
@GPP
def test_compiled_passes_teach_every_layer():
    settings = dict(method="fixmatch", joint_forward=False, steps=3)
    plain, fast = (train(replace(SMALL, compile=c, **settings)) for c in (False, True))
    for (name, p), q in zip(plain.model.named_parameters(), fast.model.parameters()):
        torch.testing.assert_close(p, q, rtol=2e-3, atol=2e-4, msg=name)


@pytest.mark.slow
def test_compiling_without_a_compiler(tmp_path):
    """The real thing: a machine whose C++ compiler cannot be run."""
    code = (
        "from layermatch_lite import TrainConfig, train\n"
        "print(train(TrainConfig(steps=2, compile=True, device='cpu')).history[-1]['loss_s'] > 0)"
    )
    environment = {"PATH": "/nowhere", "CXX": "/nowhere/c++", "TORCHINDUCTOR_CACHE_DIR": str(tmp_path), "HOME": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment)
    assert done.stdout.strip() == "True" and done.stderr.count("torch.compile failed for features") == 1, done.stderr


def test_an_error_of_the_compiled_function_itself_comes_through():
    def wrong(x):
        raise ValueError("mine")

    with pytest.raises(ValueError, match="mine"):
        device.compiled(wrong)(torch.zeros(1))


def test_out_of_memory_names_what_would_fit(monkeypatch):
    def full(*_, **__):
        raise torch.OutOfMemoryError("CUDA out of memory")

    config = replace(SMALL, dataset="images", num_labels=8, model="wrn-10-2", batch_size=8, mu=3, method="fixmatch")
    monkeypatch.setattr(methods, "unlabelled_loss", full)
    with pytest.raises(torch.OutOfMemoryError):  # on a CPU it is torch's own matter
        list(train_steps(config, images()))
    monkeypatch.setattr(train_module, "free_memory", lambda _: 90 * 10**6)
    with pytest.raises(InputError, match=r"out of GPU memory.*batch_size=8, mu=3 through wrn-10-2.*0.09 GB were free") as words:
        list(train_steps(config, images()))
    each = device.activation_bytes(WideResNet(10, 2), torch.zeros(2, 3, 32, 32))
    B = int(str(words.value).split("would fit: batch_size=")[1].split()[0].rstrip("."))
    assert each * B * 7 <= 0.8 * 90e6 < each * (B + 1) * 7, "the largest batch that the estimate allows"
    assert "model='wrn-10-1'" in str(words.value)


def test_activations_are_counted_as_autograd_keeps_them():
    """A linear map keeps its input; LeakyReLU, in place, its output; BN its input and two statistics."""
    model = build_model("mlp", (6,), 3)
    n, hidden = 50, 64
    expected = 4 * (n * (6 + 2 * (hidden + hidden)) + 2 * 2 * hidden) / n
    assert device.activation_bytes(model, torch.randn(n, 6)) == pytest.approx(expected, rel=0.02)
    one, two = (device.activation_bytes(WideResNet(10, w), torch.zeros(2, 3, 32, 32)) for w in (2, 4))
    assert 1.7 < two / one < 2, "activations grow with the width, but for the first layer"


def test_where_bf16_is_wanted_and_missing_one_warning_says_so(monkeypatch):
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda _: "Old GPU")
    monkeypatch.setattr(device, "has_bf16", lambda _: False)
    cpu, gpu = torch.device("cpu"), torch.device("cuda")
    for wanted, where, name in (("auto", gpu, "Old GPU"), ("bf16", cpu, "this machine's cpu")):
        with pytest.warns(UserWarning, match=f"{name} is not known to compute in bf16: training in float32"):
            assert device.precision_of(wanted, where) == "float32"
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert device.precision_of("auto", cpu) == device.precision_of("float32", gpu) == "float32"


@pytest.mark.parametrize("slower", [torch.float32, torch.bfloat16])
def test_a_cpu_has_bf16_where_it_is_faster_than_float32(monkeypatch, slower):
    monkeypatch.setattr(device.F, "conv2d", lambda x, w, padding: time.sleep(0.004 if x.dtype == slower else 0.001))
    assert device.has_bf16.__wrapped__(torch.device("cpu")) == (slower == torch.float32)


def test_in_bf16_with_a_weak_pass_of_its_own_every_weight_learns(monkeypatch):
    """The pass without gradients comes first: what autocast keeps of it must not cut the other pass off its weights."""
    monkeypatch.setattr(device, "has_bf16", lambda _: True)
    data = images()
    own = dict(dataset="images", num_labels=data.num_labels, model="patch_cnn")
    config = replace(SMALL, method="fixmatch", threshold=0.0, **own)
    steps = train_steps(config.changed(precision="bf16", joint_forward=False, lr=0.1), data)
    before = [p.clone() for p in next(steps).model.parameters()]
    assert all(not torch.equal(p, q) for p, q in zip(before, next(steps).model.parameters()))


def test_bf16_on_a_cpu_is_recorded_and_kept_when_a_run_is_resumed(monkeypatch, tmp_path):
    """Features are in bf16, losses in float32; a processor without it, met later, continues in what the run began with."""
    seen = []
    real = methods.unlabelled_loss
    spy = lambda z, *args, **kw: seen.append((z.dtype, (loss := real(z, *args, **kw)).dtype)) or loss
    monkeypatch.setattr(methods, "unlabelled_loss", spy)
    config = replace(SMALL, method="layermatch", precision="bf16", steps=4, log_every=2)
    monkeypatch.setattr(device, "has_bf16", lambda _: True)
    whole = train(config)
    for run in train_steps(config):
        if run.step == 2:
            run.save(tmp_path / "run.pt")
            break
    monkeypatch.setattr(device, "has_bf16", lambda _: False)
    monkeypatch.setattr(train_module, "has_bf16", lambda _: False)
    with pytest.warns(UserWarning, match="started in bf16, which is only emulated here"):
        resumed = train(resume=tmp_path / "run.pt")
    assert whole.environment["precision"] == resumed.environment["precision"] == "bf16"
    assert set(seen) == {(torch.bfloat16, torch.float32)} and resumed.history == whole.history
    assert resumed.history != train(config.changed(precision="float32")).history


def fills_up(monkeypatch, after):
    real, written = os.fsync, []

    def fsync(file):
        if len(written) >= after:
            raise OSError(errno.ENOSPC, "No space left on device")
        written.append(file)
        real(file)

    monkeypatch.setattr(os, "fsync", fsync)


def test_a_disk_that_fills_up_does_not_end_a_run(monkeypatch, tmp_path, capsys):
    path = tmp_path / "run.pt"
    fills_up(monkeypatch, after=2)
    with pytest.warns(UserWarning) as words:
        run = train(SMALL, save=path)
    lines = [str(w.message) for w in words]
    assert run.finished and run.saved == 4 and [line.split(":")[0] for line in lines] == ["step 8", "step 12"]
    assert "No space left" in lines[0] and "holds step 4" in lines[0] and "nothing more" in lines[1]
    assert Run.load(path).step == 4 and list(tmp_path.iterdir()) == [path], "the old record whole, nothing lying about"
    monkeypatch.undo()
    assert train(resume=path).history == run.history, "and it continues when there is space again"


def test_the_command_line_says_when_the_last_record_was_not_saved(monkeypatch, tmp_path, capsys):
    fills_up(monkeypatch, after=1)
    options = "--num-labels 10 --batch-size 4 --mu 2 --steps 4 --log-every 4".split()
    assert cli(["train", *options, "--out", str(tmp_path / "run.pt")]) == 1
    out, err = capsys.readouterr()
    assert "not saved" in out and "No space left" in err


def test_a_disk_that_is_full_at_the_start_ends_it(monkeypatch, tmp_path):
    fills_up(monkeypatch, after=0)
    with pytest.raises(InputError, match="No space left.*Free some space"):
        train(SMALL, save=tmp_path / "run.pt")


# --- CIFAR-10 as image files, and images found again -----------------------------------------------------------------


def jpeg(x: torch.Tensor) -> torch.Tensor:
    import io

    from PIL import Image

    out = []
    for image in x.permute(0, 2, 3, 1).numpy():
        buffer = io.BytesIO()
        Image.fromarray(image).save(buffer, "JPEG", quality=75)
        out.append(np.asarray(Image.open(buffer)))
    return torch.from_numpy(np.stack(out)).permute(0, 3, 1, 2)


def photographs(n, g):
    coarse = torch.rand(n, 3, 6, 6, generator=g)
    return torch.nn.functional.interpolate(coarse, size=32, mode="bicubic").clamp(0, 1).mul(255).to(torch.uint8)


def test_images_are_found_in_a_copy_of_another_order(g):
    from layermatch_lite.runs.recording import find_images, record

    x, y = photographs(200, g), torch.arange(200) % 4
    data = split("photos", x, y, x[:40], y[:40], "abcd", num_labels=8)
    r = record(replace(SMALL, dataset="photos", num_labels=8, steps=2), data, snapshots=1, sample=50)
    assert r.prints.shape == (50, 48) and r.prints.dtype == np.uint8
    order = torch.randperm(200, generator=g)
    other = split("photos", jpeg(x[order]), y[order], x[:40], y[:40], "abcd", num_labels=8)
    found, meant = find_images(r, other), x[torch.from_numpy(r.sample).long()]
    assert (found.float() - meant.float()).abs().mean() < 8, "the same images but for the lossy copy"
    strangers = split("photos", photographs(200, g), y, x[:40], y[:40], "abcd", num_labels=8)
    with pytest.raises(InputError, match="50 of 50 recorded samples are not in these 200 images"):
        find_images(r, strangers)


def test_cifar10_may_lie_there_as_images(tmp_path):
    from PIL import Image

    from layermatch_lite.data.sets import CIFAR10_CLASSES

    def lay_out(root, classes, ending, size=32):
        for part in ("train", "test"):
            for name in classes:
                (root / part / name).mkdir(parents=True)
                for k in range(2):
                    Image.new("RGB", (size, size), (k * 90, 30, 60)).save(root / part / name / f"{k}.{ending}")

    lay_out(tmp_path / "a", CIFAR10_CLASSES, "jpg")
    data = load_data("cifar10", 10, root=tmp_path / "a")
    assert data.name == "cifar10" and data.copy == "JPEG copy" and data.classes == CIFAR10_CLASSES and data.flip
    run = train(replace(SMALL, dataset="cifar10", steps=1, log_every=1), data)
    assert run.data["copy"] == "JPEG copy"
    lay_out(tmp_path / "b", CIFAR10_CLASSES, "png")
    assert load_data("cifar10", 10, root=tmp_path / "b").copy == "image files"
    lay_out(tmp_path / "c", ("cat", "dog"), "png")
    with pytest.raises(InputError, match="is not CIFAR-10: it has 2 classes.*dataset="):
        load_data("cifar10", 2, root=tmp_path / "c")
