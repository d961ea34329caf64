"""FixMatch the plain way: per-image PIL augmentation in DataLoader workers, eager PyTorch, float32 or AMP.

    python benchmarks/baseline_dataloader.py --steps 20 --workers 2

What most public implementations do, written once more for comparison (benchmarks/cifar.py): the same network, batches, views,
loss, optimizer and EMA as the package's own loop, without its batched augmentation, channels_last or compiled code.
"""

from __future__ import annotations

import argparse
import copy
import random
import time
from collections.abc import Iterator

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image, ImageEnhance, ImageOps
from torch import nn
from torch.utils.data import DataLoader, Dataset, RandomSampler

from layermatch_lite import TrainConfig, load_data
from layermatch_lite.data.image_operations import GRAY_FILL
from layermatch_lite.data.sets import SSLData
from layermatch_lite.models import build_model
from layermatch_lite.runs.run import cosine_schedule

MOVE = dict(resample=Image.Resampling.NEAREST, fillcolor=(0, 0, 0))


def _affine(image: Image.Image, *matrix: float) -> Image.Image:
    return image.transform(image.size, Image.Transform.AFFINE, matrix, **MOVE)


def _factor(level: float) -> float:
    return 0.9 * level + 0.05


# name: operation of an image, a level from 0.1 to 0.9 and a sign
OPERATIONS = {
    "AutoContrast": lambda i, v, s: ImageOps.autocontrast(i),
    "Brightness": lambda i, v, s: ImageEnhance.Brightness(i).enhance(_factor(v)),
    "Color": lambda i, v, s: ImageEnhance.Color(i).enhance(_factor(v)),
    "Contrast": lambda i, v, s: ImageEnhance.Contrast(i).enhance(_factor(v)),
    "Equalize": lambda i, v, s: ImageOps.equalize(i),
    "Identity": lambda i, v, s: i,
    "Posterize": lambda i, v, s: ImageOps.posterize(i, int(4 * v) + 4),
    "Rotate": lambda i, v, s: i.rotate(s * 30 * v, **MOVE),
    "Sharpness": lambda i, v, s: ImageEnhance.Sharpness(i).enhance(_factor(v)),
    "ShearX": lambda i, v, s: _affine(i, 1, s * 0.3 * v, 0, 0, 1, 0),
    "ShearY": lambda i, v, s: _affine(i, 1, 0, 0, s * 0.3 * v, 1, 0),
    "Solarize": lambda i, v, s: ImageOps.solarize(i, 256 - int(256 * v)),
    "TranslateX": lambda i, v, s: _affine(i, 1, 0, int(s * 0.3 * v * i.width), 0, 1, 0),
    "TranslateY": lambda i, v, s: _affine(i, 1, 0, 0, 0, 1, int(s * 0.3 * v * i.height)),
}


def weak(image: Image.Image, pad: int) -> Image.Image:
    """Flip, and crop from a reflected border."""
    if random.random() < 0.5:
        image = ImageOps.mirror(image)
    wide = np.pad(np.asarray(image), ((pad, pad), (pad, pad), (0, 0)), mode="reflect")
    top, left = random.randint(0, 2 * pad), random.randint(0, 2 * pad)
    return Image.fromarray(wide[top : top + image.height, left : left + image.width])


def strong(image: Image.Image, pad: int, hole: int) -> Image.Image:
    """A weak view, two random operations, cutout."""
    image = weak(image, pad)
    for _ in range(2):
        name, level, sign = random.choice(list(OPERATIONS)), random.randint(1, 9) / 10, random.choice((-1, 1))
        if random.random() < 0.5:
            image = OPERATIONS[name](image, level, sign)
    array = np.array(image)
    top, left = (max(0, int(random.uniform(0, side) - hole / 2)) for side in array.shape[:2])
    array[top : top + hole, left : left + hole] = GRAY_FILL
    return Image.fromarray(array)


class Images(Dataset):
    """Each image in the views that `wanted` names, as normalised tensors, and its label."""

    def __init__(self, x: torch.Tensor, y: torch.Tensor, data: SSLData, wanted: tuple[str, ...]):
        self.images = [Image.fromarray(i) for i in x.permute(0, 2, 3, 1).numpy()]
        self.y, self.wanted = y.tolist(), wanted
        self.mean, self.std = data.mean.view(3, 1, 1), data.std.view(3, 1, 1)
        side = min(data.sample_shape[1:])
        self.pad, self.hole = side // 8, side // 2

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, i: int):
        views = {"weak": lambda: weak(self.images[i], self.pad), "strong": lambda: strong(self.images[i], self.pad, self.hole)}
        return *(self._tensor(views[name]()) for name in self.wanted), self.y[i]

    def _tensor(self, image: Image.Image) -> torch.Tensor:
        return (torch.from_numpy(np.array(image)).permute(2, 0, 1).float() - self.mean) / self.std


def train_steps(config: TrainConfig, data: SSLData, *, workers: int, amp: bool = False) -> Iterator[float]:
    """The loop, step by step; yields the loss as a number, as such loops print it."""
    device = torch.device(config.device)
    g = torch.Generator().manual_seed(config.seed)
    model = build_model(config.model, data.sample_shape, len(data.classes), bn_momentum=config.bn_momentum, generator=g)
    model.to(device)
    ema = copy.deepcopy(model).eval()
    decayed = [p for p in model.parameters() if p.dim() > 1]
    others = [p for p in model.parameters() if p.dim() <= 1]
    optimizer = torch.optim.SGD(
        [{"params": decayed, "weight_decay": config.weight_decay}, {"params": others}], lr=config.lr, momentum=0.9, nesterov=True
    )
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda k: cosine_schedule(k, config.steps))
    B, N = config.batch_size, config.mu * config.batch_size

    def loader(x, y, wanted: tuple[str, ...], size: int) -> Iterator:
        images = Images(x, y, data, wanted)
        sampler = RandomSampler(images, replacement=True, num_samples=size * config.steps)
        pinned = device.type == "cuda"
        return iter(DataLoader(images, size, sampler=sampler, num_workers=workers, drop_last=True, pin_memory=pinned))

    # Published code sees labelled samples in the weak view; a share of strong ones is an option of this package.
    labelled = loader(data.x_labelled, data.y_labelled, ("weak",), B)
    unlabelled = loader(data.x_unlabelled, data.y_unlabelled, ("weak", "strong"), N)
    model.train()
    for (x, y), (u_weak, u_strong, _) in zip(labelled, unlabelled):
        inputs = torch.cat([x, u_weak, u_strong]).to(device, non_blocking=True)
        y = y.to(device, non_blocking=True)
        with torch.autocast(device.type, torch.bfloat16, enabled=amp):
            logits_x, logits_weak, logits_strong = model(inputs).split([B, N, N])
        p, q = logits_weak.detach().float().softmax(dim=1).max(dim=1)
        mask = (p >= config.threshold).float()
        L_s = F.cross_entropy(logits_x.float(), y)
        L_u = (F.cross_entropy(logits_strong.float(), q, reduction="none") * mask).mean()
        loss = L_s + config.lambda_u * L_u
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        average(ema, model, config.ema_decay)
        yield float(loss.detach())


@torch.no_grad()
def average(ema: nn.Module, model: nn.Module, decay: float) -> None:
    for e, p in zip(ema.parameters(), model.parameters()):
        e.mul_(decay).add_(p, alpha=1 - decay)
    for e, b in zip(ema.buffers(), model.buffers()):
        e.copy_(b)


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--preset", default="cifar_cpu")
    arguments.add_argument("--steps", type=int, default=20)
    arguments.add_argument("--workers", type=int, default=2)
    arguments.add_argument("--amp", action="store_true")
    args = arguments.parse_args()
    config = TrainConfig.preset(args.preset, method="fixmatch", steps=args.steps)
    data = load_data(config.dataset, config.num_labels, progress=True)
    start = time.perf_counter()
    for k, loss in enumerate(train_steps(config, data, workers=args.workers, amp=args.amp), 1):
        print(f"step {k}: loss {loss:.3f}, {(time.perf_counter() - start) / k * 1e3:.0f} ms per step")


if __name__ == "__main__":
    main()
