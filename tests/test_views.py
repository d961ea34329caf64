"""Every image operation against torchvision's on the same parameters; the views' own laws."""

import math

import numpy as np
import pytest
import torch
from torchvision.transforms import InterpolationMode
from torchvision.transforms import functional as tv

from layermatch_lite import load_data, split
from layermatch_lite.data import image_operations as ops
from layermatch_lite.data import views
from layermatch_lite.data.views import Views

N = 24


@pytest.fixture(params=["noise", "smooth", "flat", "grey levels"])
def images(request, g):
    """uint8 (N, 3, 32, 32) of different character: histogram operations behave differently on each."""
    noise = torch.randint(0, 256, (N, 3, 32, 32), generator=g)
    if request.param == "smooth":
        coarse = torch.randint(0, 256, (N, 3, 4, 4), generator=g).float()
        noise = torch.nn.functional.interpolate(coarse, size=32, mode="bilinear")
    elif request.param == "flat":
        noise = torch.randint(0, 256, (N, 3, 1, 1), generator=g).expand(N, 3, 32, 32)
    elif request.param == "grey levels":
        noise = noise // 64 * 50 + 20
    return noise.to(torch.uint8).contiguous()


def each(f, images, *parameters):
    return torch.stack([f(image, *(p[i].item() for p in parameters)) for i, image in enumerate(images)])


LEVELS = torch.linspace(0.05, 0.95, N)


@pytest.mark.parametrize("ours, theirs", [(ops.autocontrast, tv.autocontrast), (ops.equalize, tv.equalize)])
def test_operations_without_parameter(images, ours, theirs):
    assert torch.equal(ours(images), each(theirs, images))


@pytest.mark.parametrize(
    "ours, theirs",
    [
        (ops.brightness, tv.adjust_brightness),
        (ops.color, tv.adjust_saturation),
        (ops.contrast, tv.adjust_contrast),
        (ops.sharpness, tv.adjust_sharpness),
    ],
)
def test_blends(images, ours, theirs):
    # float32 sums in another order may round one value in thousands to its neighbour
    difference = (ours(images, LEVELS).int() - each(theirs, images, LEVELS).int()).abs()
    assert difference.max() <= 1
    assert (difference > 0).float().mean() < 1e-3


def test_posterize(images):
    bits = torch.arange(N) % 9
    assert torch.equal(ops.posterize(images, bits), each(tv.posterize, images, bits))


def test_solarize(images):
    thresholds = torch.linspace(0, 255, N).floor()
    assert torch.equal(ops.solarize(images, thresholds), each(tv.solarize, images, thresholds))
    assert torch.equal(ops.solarize(images, torch.full((N,), 256.0)), images), "256 inverts nothing"


def same_up_to_ties(ours, theirs, share):
    """Nearest-neighbour warps may differ where a source point lies exactly between two pixels."""
    assert ours.dtype == torch.uint8
    assert (ours != theirs).float().mean() <= share


SIGNED = torch.linspace(-0.3, 0.3, N)


def test_rotate(images):
    degrees = 100 * SIGNED
    theirs = each(lambda x, a: tv.rotate(x, a, InterpolationMode.NEAREST), images, degrees)
    same_up_to_ties(ops.geometry(images, degrees=degrees), theirs, 0.01)


def torchvision_shear(x, angle_x, angle_y):
    """As torchvision's RandAugment calls it: about the top left corner, like PIL."""
    return tv.affine(
        x,
        0.0,
        [0, 0],
        1.0,
        [math.degrees(math.atan(angle_x)), math.degrees(math.atan(angle_y))],
        InterpolationMode.NEAREST,
        center=[0, 0],
    )


def test_shear(images):
    zero = torch.zeros(N)
    same_up_to_ties(ops.geometry(images, shear_x=SIGNED), each(torchvision_shear, images, SIGNED, zero), 0.02)
    same_up_to_ties(ops.geometry(images, shear_y=SIGNED), each(torchvision_shear, images, zero, SIGNED), 0.02)


def test_translate(images):
    move = lambda x, dx, dy: tv.affine(x, 0.0, [int(dx), int(dy)], 1.0, [0.0, 0.0], InterpolationMode.NEAREST)
    pixels, zero = (SIGNED * 32).trunc(), torch.zeros(N)
    assert torch.equal(ops.geometry(images, left=SIGNED), each(move, images, -pixels, zero))
    assert torch.equal(ops.geometry(images, up=SIGNED), each(move, images, zero, -pixels))


def test_parameters_cover_the_protocols_ranges():
    level = torch.arange(1, 10) / 10
    value = {name: parameter(level) for name, (_, parameter) in ops.TONES.items() if parameter}
    assert len(ops.COLOR_OPERATIONS) == 14
    assert value["Posterize"].tolist() == [4, 4, 5, 5, 6, 6, 6, 7, 7]
    assert value["Solarize"].min() == 26 and value["Solarize"].max() == 231
    assert value["Brightness"][0] == pytest.approx(0.14) and value["Brightness"][-1] == pytest.approx(0.86)
    assert {name: amount for name, (_, amount) in ops.MOVES.items()} == {
        "Rotate": 30,
        "ShearX": 0.3,
        "ShearY": 0.3,
        "TranslateX": 0.3,
        "TranslateY": 0.3,
    }


def test_rand_augment_moves_both_ways_by_every_level(g):
    x = torch.zeros(3000, 1, 32, 32, dtype=torch.uint8)
    x[..., 16] = 255  # one bright column
    moved = ops.rand_augment(x, g, operations=("TranslateX",), draws=1).float().mean((1, 2)).argmax(1) - 16
    assert set(moved.tolist()) == {s * int(0.3 * level / 10 * 32) for level in range(10) for s in (-1, 1)}


def test_flip_and_crop_yields_crops_of_the_reflected_image(g):
    x = torch.arange(2 * 8 * 8, dtype=torch.uint8).view(2, 1, 8, 8).repeat(40, 1, 1, 1)
    out = ops.flip_and_crop(x, g, pad=2, flip=True)
    seen = set()
    for image, result in zip(x, out):
        padded = tv.pad(image, [2, 2, 2, 2], padding_mode="reflect")
        crops = {
            (dy, dx, f): (c.flip(2) if f else c)
            for dy in range(5)
            for dx in range(5)
            for f in (False, True)
            for c in [padded[:, dy : dy + 8, dx : dx + 8]]
        }
        hits = [k for k, c in crops.items() if torch.equal(c, result)]
        assert len(hits) == 1
        seen.add(hits[0])
    assert len(seen) > 20, "offsets and flips vary from sample to sample"


def test_cutout_is_a_clipped_square_of_grey(g):
    x = torch.zeros(200, 3, 32, 32, dtype=torch.uint8)
    hole = ops.cutout(x, g, 16) == ops.GRAY_FILL
    assert torch.equal(hole[:, 0], hole[:, 1])
    heights, widths = hole[:, 0].any(2).sum(1), hole[:, 0].any(1).sum(1)
    assert torch.equal(hole[:, 0].sum((1, 2)), heights * widths), "a rectangle"
    assert heights.max() == 16 and heights.min() >= 1 and heights.float().std() > 0


def test_rand_augment_applies_each_operation_about_equally_often(g, monkeypatch):
    """Two draws per image, each from 14 operations and applied with probability 0.5."""
    n, counts = 14_000, dict.fromkeys(ops.COLOR_OPERATIONS, 0)

    def counting(name):
        def operation(x, *parameter):
            counts[name] += len(x)
            return x

        return operation

    def geometry(x, **amounts):
        for name, (argument, _) in ops.MOVES.items():
            counts[name] += int((amounts[argument] != 0).sum())
        return x

    monkeypatch.setattr(ops, "TONES", {k: (counting(k), parameter) for k, (_, parameter) in ops.TONES.items()})
    monkeypatch.setattr(ops, "geometry", geometry)
    ops.rand_augment(torch.zeros(n, 3, 2, 2, dtype=torch.uint8), g)
    del counts["Identity"]  # skipped, as it changes nothing
    assert all(850 < count < 1150 for count in counts.values()), counts  # expected: 1000 with a deviation of 31


def test_elongated_and_tiny_images(g):
    for height, width in ((8, 128), (128, 8), (3, 3), (1, 5)):
        x = torch.randint(0, 256, (4, 3, height, width), generator=g, dtype=torch.uint8)
        views = Views(split("odd", x, torch.arange(4) % 2, x, torch.arange(4) % 2, ("a", "b"), num_labels=2))
        assert views.weak(x, g).shape == views.strong(x, g).shape == x.shape


@pytest.mark.parametrize("name", ["mnist1d", "digits", "two_moons"])
def test_views_draw_afresh_for_every_sample_from_their_generator_alone(name):
    data = load_data(name, None)
    views = Views(data)
    x = data.x_unlabelled[:1].repeat(50, *[1] * len(data.sample_shape))
    state = torch.random.get_rng_state()
    for view in (views.weak, views.strong):
        a, b = (view(x, torch.Generator().manual_seed(7)) for _ in range(2))
        assert a.dtype == torch.float32 and a.shape == x.shape and a.isfinite().all()
        assert torch.equal(a, b), "the same generator state gives the same views"
        assert len(torch.unique(a.flatten(1), dim=0)) > 5, "samples of a batch get draws of their own"
    distance = lambda view: (view(x, torch.Generator().manual_seed(1)) - views.plain(x)).square().mean()
    assert distance(views.strong) > distance(views.weak)
    assert torch.equal(state, torch.random.get_rng_state())


def test_views_leave_the_data_alone():
    data = load_data("digits", None)
    before = data.x_unlabelled.clone()
    views, g = Views(data), torch.Generator().manual_seed(0)
    views.weak(data.x_unlabelled, g)
    views.strong(data.x_unlabelled, g)
    assert torch.equal(before, data.x_unlabelled)


def test_warp_shifts_around_the_end_and_stretches_about_the_middle():
    x = torch.arange(10.0).view(1, 1, 10).repeat(3, 1, 1)
    one = torch.ones(3)
    shifted = views.warp(x, torch.tensor([0.0, 3.0, -0.5]), one)
    assert torch.equal(shifted[0, 0], x[0, 0])
    assert torch.equal(shifted[1, 0], x[0, 0].roll(3))
    torch.testing.assert_close(shifted[2, 0, :-1], x[0, 0, :-1] + 0.5)
    longer = views.warp(x, torch.zeros(3), 2 * one)[0, 0]
    torch.testing.assert_close(longer, torch.linspace(2.25, 6.75, 10))


def test_smooth_noise_has_unit_variance_and_is_correlated(g):
    noise = views.smooth_noise(torch.zeros(4000, 1, 40), g)
    assert noise.std() == pytest.approx(1, abs=0.02)
    a, b = noise[:, 0, :-1].flatten(), noise[:, 0, 1:].flatten()
    assert np.corrcoef(a, b)[0, 1] > 0.8
