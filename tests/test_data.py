"""Splits, embedded sets, image folders and their cache."""

import os
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from layermatch_lite import InputError, load_data
from layermatch_lite.data import folders, split
from layermatch_lite.data.sets import EMBEDDED, choose_labels
from layermatch_lite.system import cache_dir

SHAPES = {
    "mnist1d": (4000, 1000, 10, (1, 40)),
    "digits": (1437, 360, 10, (1, 8, 8)),
    "two_moons": (1000, 1000, 2, (2,)),
    "blobs": (1000, 1000, 4, (2,)),
}


@pytest.mark.parametrize("name", EMBEDDED)
def test_embedded_data(name):
    train, test, classes, shape = SHAPES[name]
    d = load_data(name, 2 * classes, num_val=100, seed=3)
    assert (len(d.x_unlabelled), len(d.x_test), len(d.classes), d.sample_shape) == (train - 100, test, classes, shape)
    assert d.x_unlabelled.dtype == (torch.uint8 if name == "digits" else torch.float32)
    assert d.y_labelled.dtype == torch.int64
    assert torch.equal(d.y_labelled.bincount(), torch.full((classes,), 2))


def rows(x):
    return {bytes(r) for r in x.flatten(1).contiguous().numpy()}


def test_a_split_keeps_its_parts_apart():
    d = load_data("mnist1d", 40, num_val=500, seed=1)
    assert rows(d.x_labelled) <= rows(d.x_unlabelled), (
        "the unlabelled pool includes the labelled samples, as in FixMatch"
    )
    assert not rows(d.x_val) & rows(d.x_unlabelled)
    assert not rows(d.x_test) & (rows(d.x_unlabelled) | rows(d.x_val))
    assert len(rows(d.x_unlabelled)) + len(rows(d.x_val)) == 4000


def test_a_split_depends_on_its_seed_alone():
    torch.manual_seed(1)
    a = load_data("mnist1d", 20, num_val=10, seed=5)
    state = torch.manual_seed(2).get_state()
    np_state = np.random.get_state()[1].copy()
    b, other = load_data("mnist1d", 20, num_val=10, seed=5), load_data("mnist1d", 20, num_val=10, seed=6)
    assert torch.equal(torch.random.get_rng_state(), state) and (np.random.get_state()[1] == np_state).all()
    assert torch.equal(a.x_labelled, b.x_labelled) and torch.equal(a.x_val, b.x_val)
    assert a.fingerprint == b.fingerprint != other.fingerprint
    assert not torch.equal(a.x_labelled, other.x_labelled) and torch.equal(a.x_test, other.x_test)


@given(each=st.integers(1, 20), num_classes=st.integers(2, 6), seed=st.integers(0, 100))
@settings(max_examples=40, deadline=None)
def test_labels_are_balanced_and_distinct(each, num_classes, seed):
    g = torch.Generator().manual_seed(seed)
    y = torch.cat([torch.arange(num_classes).repeat(20), torch.randint(num_classes, (30,), generator=g)])
    chosen = choose_labels(y, num_classes, each * num_classes, g)
    assert len(chosen.unique()) == len(chosen)
    assert (y[chosen].bincount(minlength=num_classes) == each).all()


def test_none_keeps_every_label():
    d = load_data("digits", None)
    assert torch.equal(d.x_labelled, d.x_unlabelled)


@pytest.mark.parametrize(
    "name, wanted, named",
    [
        ("mnist1d", dict(num_labels=15), "15.*10 or 20"),
        ("mnist1d", dict(num_labels=5), "give 10"),
        ("mnist1d", dict(num_labels=0), "num_labels=0"),
        ("mnist1d", dict(num_labels=-10), "-10"),
        ("mnist1d", dict(num_labels=100_000), "rarest class"),
        ("mnist1d", dict(num_labels=2.5), "2.5"),
        ("mnist1d", dict(num_val=4000), "num_val"),
        ("mnist1d", dict(seed=-1), "seed"),
        ("mnist2d", {}, "mnist2d.*mnist1d"),
        ("no/such/folder", {}, "not a folder"),
    ],
)
def test_wrong_requests(name, wanted, named):
    with pytest.raises(InputError, match=named):
        load_data(name, **{"num_labels": 20} | wanted)


def test_split_your_own_tensors():
    x, y = torch.randn(60, 3), torch.arange(60) % 3
    d = split("mine", x, y, x[:9], y[:9], ("a", "b", "c"), num_labels=6, seed=0)
    assert d.kind == "points" and d.num_labels == 6
    assert (
        split("mine", x.double(), y.int(), x[:9], y[:9], ("a", "b", "c"), num_labels=6).x_unlabelled.dtype
        == torch.float32
    )
    for wrong, named in (
        ((x, y * 0, x[:9], y[:9] * 0, ("a",)), "1 class"),
        ((x, y[:-1], x[:9], y[:9], "abc"), "59 labels"),
        ((x, y, x[:9], y[:9], "ab"), "from 0 to 1"),
        ((x, y, x[:9, :2], y[:9], "abc"), "one shape"),
        ((x.view(60, 3, 1, 1), y, x[:9].view(9, 3, 1, 1), y[:9], "abc"), "images are uint8"),
    ):
        with pytest.raises(InputError, match=named):
            split("mine", *wrong, num_labels=6)


def test_the_shipped_mnist1d_is_what_its_authors_package_generates():
    pytest.importorskip("mnist1d", reason="development dependency")
    folder = Path(folders.__file__).with_name("embedded")
    sys.path.insert(0, str(folder))
    try:
        from make_mnist1d import PATH, make
    finally:
        sys.path.remove(str(folder))
    state = np.random.get_state()
    made = make()
    np.random.set_state(state)
    with np.load(PATH, allow_pickle=False) as shipped:
        assert set(shipped) == set(made)
        for name in made:
            np.testing.assert_allclose(shipped[name], made[name], atol=1e-5)


# --- image folders ---------------------------------------------------------------------------------------------------


@pytest.fixture
def folder(tmp_path):
    return make_folder(tmp_path / "images")


def make_folder(root, classes=("cat", "dog"), train=6, test=3, size=(16, 16)):
    rng = np.random.default_rng(0)
    for part, n in (("train", train), ("test", test)):
        for c in classes:
            (root / part / c).mkdir(parents=True)
            for i in range(n):
                Image.fromarray(rng.integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)).save(
                    root / part / c / f"{i:03}.png"
                )
    return root


def test_a_folder_is_decoded_in_order(folder):
    d = load_data(folder, 4)
    assert d.classes == ("cat", "dog") and d.flip and d.x_unlabelled.shape == (12, 3, 16, 16)
    assert d.y_unlabelled.tolist() == [0] * 6 + [1] * 6
    image = np.asarray(Image.open(folder / "train" / "dog" / "002.png")).transpose(2, 0, 1)
    assert np.array_equal(d.x_unlabelled[8].numpy(), image)


def test_the_cache_is_used_and_rebuilt_when_the_folder_changes(folder, monkeypatch):
    first = load_data(folder, 4)
    decoded = []
    real = folders._decoded
    monkeypatch.setattr(folders, "_decoded", lambda folder, files, *a: decoded.append(len(files)) or real(folder, files, *a))
    assert torch.equal(load_data(folder, 4).x_unlabelled, first.x_unlabelled) and not decoded
    Image.new("RGB", (16, 16), "red").save(folder / "train" / "cat" / "000.png")
    changed = load_data(folder, 4)
    assert decoded == [18] and not torch.equal(changed.x_unlabelled, first.x_unlabelled)
    os.utime(folder / "train" / "cat" / "001.png", ns=(1, 1))  # the same size, another time
    load_data(folder, 4)
    assert decoded == [18, 18]


def test_one_folder_has_one_cache_whatever_it_is_called(folder, monkeypatch):
    load_data(folder, 4)
    monkeypatch.setattr(folders, "_decoded", None)  # to decode again would fail
    monkeypatch.chdir(folder.parent)
    assert load_data("images/", 4).num_labels == load_data("./images", 4).num_labels == 4


def test_a_broken_link_in_a_folder(folder):
    (folder / "train" / "cat" / "link.png").symlink_to("nowhere.png")
    with pytest.raises(InputError, match="link.png cannot be read"):
        load_data(folder, 4)


def test_mirroring_can_be_chosen(folder):
    assert load_data(folder, 4).flip and not load_data(folder, 4, flip=False).flip


def test_a_damaged_cache_is_rebuilt(folder):
    first = load_data(folder, 4)
    (cache,) = (cache_dir() / "folders").glob("*.npz")
    cache.write_bytes(cache.read_bytes()[:500])
    assert torch.equal(load_data(folder, 4).x_unlabelled, first.x_unlabelled)


def test_a_cache_that_cannot_be_written_costs_a_note_only(folder, monkeypatch, tmp_path, capsys):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("LAYERMATCH_CACHE", str(tmp_path / "file"))
    assert load_data(folder, 4).num_labels == 4
    assert "could not be written" in capsys.readouterr().out


def remove(path):
    for p in sorted(path.rglob("*"), reverse=True):
        p.unlink() if p.is_file() else p.rmdir()
    path.rmdir()


@pytest.mark.parametrize(
    "damage, named",
    [
        (lambda f: remove(f / "test"), "no folder test/"),
        (lambda f: [remove(f / "train" / c) for c in ("cat", "dog")], "no class folders"),
        (lambda f: [remove(f / p / "dog") for p in ("train", "test")], "only one class"),
        (lambda f: [p.unlink() for p in (f / "train" / "cat").iterdir()], "holds no images"),
        (lambda f: (f / "test" / "dog").rename(f / "test" / "wolf"), "dog, wolf"),
        (lambda f: (f / "train" / "cat" / "003.png").write_bytes(b"not an image"), "003.png is not a readable image"),
        (
            lambda f: (f / "train" / "cat" / "003.png").write_bytes((f / "train/cat/002.png").read_bytes()[:200]),
            "003.png is not",
        ),
        (lambda f: Image.new("RGB", (9, 7)).save(f / "train" / "cat" / "003.png"), "9x7 pixels.*16x16"),
        (
            lambda f: [Image.new("RGB", (8, 8)).save(p) for p in (f / "test").rglob("*.png")],
            "8x8 pixels.*16x16",
        ),
    ],
)
def test_damaged_folders(folder, damage, named):
    damage(folder)
    with pytest.raises(InputError, match=named):
        load_data(folder, 4)


def test_cifar10_says_what_to_do_when_the_download_fails(monkeypatch, tmp_path):
    import torchvision

    def fail(*_, **__):
        raise OSError("connection refused")

    monkeypatch.setattr(torchvision.datasets.CIFAR10, "download", fail)
    with pytest.raises(InputError, match="connection refused.*--dataset FOLDER"):
        load_data("cifar10", 40, root=tmp_path)


def test_cifar10_layout(monkeypatch, tmp_path):
    """Channels first, labels as torchvision gives them; the files themselves are torchvision's business."""
    import torchvision

    class Fake:
        url = ""
        classes = [f"class {c}" for c in range(10)]

        def __init__(self, root, train, download):
            n = 50 if train else 20
            self.data = np.arange(n * 32 * 32 * 3, dtype=np.uint32).reshape(n, 32, 32, 3).astype(np.uint8)
            self.targets = [i % 10 for i in range(n)]

    monkeypatch.setattr(torchvision.datasets, "CIFAR10", Fake)
    d = load_data("cifar10", 20, root=tmp_path)
    assert d.x_unlabelled.shape == (50, 3, 32, 32) and d.flip and len(d.x_test) == 20
    assert d.x_unlabelled[0, :, 0, 1].tolist() == [3, 4, 5]
