"""Image files and folders of one's own: what is stored is what is seen, and nothing is left out without a word."""

import os
import warnings
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from layermatch_lite import InputError, TrainConfig, load_data, split, train
from layermatch_lite.data import folders
from layermatch_lite.data.images import header, read

RNG = np.random.default_rng(0)
COLOUR = RNG.integers(0, 256, (12, 16, 3), dtype=np.uint8)
RAMP = np.arange(192, dtype=np.uint8).reshape(12, 16)


def save(path, image, **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    (image if isinstance(image, Image.Image) else Image.fromarray(image)).save(path, **options)
    return str(path)


# --- one file ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("orientation, seen", [(3, np.rot90(COLOUR, 2)), (6, np.rot90(COLOUR, -1)), (2, COLOUR[:, ::-1])])
def test_an_image_stands_as_its_camera_says(tmp_path, orientation, seen):
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = save(tmp_path / "a.png", COLOUR, exif=exif)
    assert np.array_equal(read(path, grey=False), seen.transpose(2, 0, 1))
    assert (header(path).height, header(path).width) == seen.shape[:2], "known before anything is decoded"


def test_sixteen_bits_and_floats_keep_their_levels(tmp_path):
    deep = save(tmp_path / "deep.png", Image.fromarray(RAMP.astype(np.uint16) * 257))
    floats = save(tmp_path / "floats.tif", Image.fromarray((RAMP / 255).astype(np.float32)))
    for path in (deep, floats):
        assert header(path).grey and np.array_equal(read(path, grey=True)[0], RAMP), "not 0 and 255 alone"
    for wrong in (RAMP.astype(np.float32), np.full((4, 4), np.nan, np.float32), RAMP.astype(np.int32)):
        with pytest.raises(InputError, match="odd.tif is not a readable image.*save it with 8 or 16 bits|0 to 1"):
            read(save(tmp_path / "odd.tif", Image.fromarray(wrong)), grey=True)


def test_transparency_lies_on_white_and_a_palette_has_its_colours(tmp_path):
    clear = np.concatenate([COLOUR, np.zeros((12, 16, 1), np.uint8)], axis=2)  # a colour that nobody sees
    clear[:6, :, 3] = 255
    seen = read(save(tmp_path / "clear.png", clear), grey=False).transpose(1, 2, 0)
    assert np.array_equal(seen[:6], COLOUR[:6]) and (seen[6:] == 255).all()
    palette = Image.fromarray(COLOUR // 128 * 255).convert("P", palette=Image.Palette.ADAPTIVE)
    path = save(tmp_path / "palette.gif", palette)
    assert np.array_equal(read(path, grey=False).transpose(1, 2, 0), COLOUR // 128 * 255) and not header(path).grey
    inks = save(tmp_path / "inks.jpg", Image.new("CMYK", (8, 8), (0, 255, 255, 0)), quality=100)
    assert read(inks, grey=False)[:, 0, 0] == pytest.approx([255, 0, 0], abs=3), "red, as it is printed"


def test_scaling_keeps_the_middle_and_the_proportions(tmp_path):
    wide = np.zeros((40, 120, 3), np.uint8)
    wide[:, 40:80] = 200  # the middle square
    for path in (save(tmp_path / "a.png", wide), save(tmp_path / "a.jpg", wide, quality=100)):
        small = read(path, grey=False, size=20)
        assert small.shape == (3, 20, 20) and (abs(small[:, :, 2:-2].astype(int) - 200) < 4).all()


@pytest.mark.parametrize("name, content", [("text.png", b"not an image"), ("empty.jpg", b""), ("cut.png", None)])
def test_a_broken_image_is_named(tmp_path, name, content):
    path = tmp_path / name
    save(tmp_path / "whole.png", COLOUR)
    path.write_bytes((tmp_path / "whole.png").read_bytes()[:200] if content is None else content)
    with pytest.raises(InputError, match=f"{name} is not a readable image"):
        read(str(path), grey=False)


# --- a folder ----------------------------------------------------------------------------------------------------------


def photos(root, *, train=4, test=2, unlabelled=9, size=(16, 16), grey=False):
    """A folder with two classes and images without one. The classes differ in brightness."""
    rng = np.random.default_rng(1)
    shape = (size[1], size[0]) if grey else (size[1], size[0], 3)
    counts = {"train/dark": train, "train/light": train, "test/dark": test, "test/light": test, "unlabelled/deep/er": unlabelled}
    for where, n in counts.items():
        for i in range(n):
            bright = 150 if "light" in where or (where.startswith("un") and i % 2) else 0
            save(root / where / f"{i:03}.png", (rng.integers(0, 100, shape) + bright).astype(np.uint8))
    return root


def test_images_without_classes_join_the_pool_as_unknown(tmp_path):
    data = load_data(photos(tmp_path / "p"), 4, num_val=2, seed=3)
    assert (len(data.x_unlabelled), data.num_labels, len(data.x_val), len(data.x_test)) == (8 + 9 - 2, 4, 2, 4)
    assert int((data.y_unlabelled == -1).sum()) == 9 and not data.truth_known and (data.y_val >= 0).all()
    assert load_data(tmp_path / "p", None).num_labels == 8, "all labels there are"
    (tmp_path / "p" / "unlabelled").rename(tmp_path / "p" / "unlabeled")
    assert not load_data(tmp_path / "p", None).truth_known, "American spelling"


def test_without_unlabelled_images_a_folder_is_what_it_was(tmp_path):
    data = load_data(photos(tmp_path / "p", unlabelled=0), 4)
    assert data.truth_known and len(data.x_unlabelled) == 8


def test_grey_images_have_one_channel_and_mixed_ones_three(tmp_path):
    assert load_data(photos(tmp_path / "p", grey=True), 4).sample_shape == (1, 16, 16)
    save(tmp_path / "p" / "unlabelled" / "red.png", Image.new("RGB", (16, 16), "red"))
    data = load_data(tmp_path / "p", 4)
    assert data.sample_shape == (3, 16, 16) and (data.x_unlabelled[8, 0] == 255).all()


def test_every_file_is_used_or_named(tmp_path):
    root = photos(tmp_path / "p", unlabelled=3)
    save(root / "train" / "dark" / "deeper" / "still" / "in.png", COLOUR[:12, :12])
    save(root / "train" / "light" / "no-ending", Image.new("RGB", (12, 12)), format="PNG")
    save(root / "train" / "stray.png", COLOUR)
    save(root / "elsewhere" / "a.png", COLOUR)
    for name in ("train/dark/notes.txt", ".hidden.png", "train/dark/._a.png", "train/dark/Thumbs.db", "train/.DS_Store"):
        (root / name).write_bytes(b"no image")
    os.mkfifo(root / "unlabelled" / "pipe")
    with pytest.warns(UserWarning) as words:
        data = load_data(root, None, image_size=12)
    assert data.num_labels == 8 + 2 and len(data.x_unlabelled) == 10 + 3, "subfolders, and what is an image by its content"
    (text,) = {str(w.message) for w in words}
    for said in ("elsewhere", "train/stray.png", "in no class folder", "notes.txt", "pipe", "2 files"):
        assert said in text
    assert "hidden" not in text and "Thumbs" not in text and "DS_Store" not in text, "operating systems' own files"


def test_links_are_followed_once_and_what_holds_several_pictures_is_named(tmp_path):
    root = photos(tmp_path / "p", unlabelled=3)
    (root / "unlabelled" / "again").symlink_to("deep")
    (root / "unlabelled" / "deep" / "round").symlink_to("..")
    frames = [Image.new("RGB", (16, 16), c) for c in ("red", "green")]
    frames[0].save(root / "unlabelled" / "film.gif", save_all=True, append_images=frames[1:])
    with pytest.warns(UserWarning, match="of several pictures in a file the first is used .1 file: .*film.gif"):
        assert len(load_data(root, None).x_unlabelled) == 8 + 3 + 1


def test_a_share_of_the_labelled_images_becomes_the_test_set(tmp_path):
    root = photos(tmp_path / "p", train=10, test=0)
    with pytest.raises(InputError, match="no folder test/.*--test-share 0.2"):
        load_data(root, None)
    data, again = (load_data(root, None, test_share=0.3, seed=seed) for seed in (0, 1))
    assert data.y_test.tolist() == [0] * 3 + [1] * 3 and torch.equal(data.x_test, again.x_test), "whatever the seed"
    flat = lambda x: {bytes(r) for r in x.flatten(1).numpy()}
    assert len(data.y_labelled) == 14 and not flat(data.x_test) & flat(data.x_unlabelled)
    photos(root)
    with pytest.raises(InputError, match="has a folder test/"):
        load_data(root, None, test_share=0.3)


def test_sizes_may_differ_where_all_are_scaled(tmp_path):
    root = photos(tmp_path / "p")
    save(root / "unlabelled" / "big.jpg", Image.new("RGB", (300, 200), "red"))
    with pytest.raises(InputError, match="big.jpg is 300x200 pixels.*--image-size"):
        load_data(root, 4)
    data = load_data(root, 4, image_size=10)
    assert data.sample_shape == (3, 10, 10) and data.x_unlabelled[8, 0].float().mean() > 250
    assert load_data(root, 4, image_size=12).sample_shape == (3, 12, 12), "another size is another cache"


def test_broken_images_are_refused_or_skipped_and_counted(tmp_path):
    root = photos(tmp_path / "p")
    whole = (root / "unlabelled" / "deep" / "er" / "000.png").read_bytes()
    (root / "unlabelled" / "cut.png").write_bytes(whole[:300])
    (root / "train" / "dark" / "bad.png").write_bytes(b"no image")
    for skip in (False, True, False):  # nor is what was skipped once taken from the cache
        if skip:
            with pytest.warns(UserWarning, match="left out 2 files: .*(bad.png|cut.png).*broken"):
                assert len(load_data(root, None, skip_broken=True).x_unlabelled) == 8 + 9
        else:
            with pytest.raises(InputError, match="bad.png is not a readable image.*--skip-broken"):
                load_data(root, None)


def test_what_memory_cannot_hold_is_known_before_it_is_decoded(tmp_path, monkeypatch):
    root = photos(tmp_path / "p", size=(64, 64))
    monkeypatch.setattr(folders, "memory", lambda: 400_000)
    monkeypatch.setattr(folders, "read", None)  # to decode one would fail
    with pytest.raises(InputError, match="images of 64x64 pixels take .* GB.*--image-size"):
        load_data(root, 4)
    monkeypatch.undo()
    bomb = tmp_path / "p" / "unlabelled" / "bomb.png"
    Image.new("1", (30_000, 30_000)).save(bomb)
    with pytest.raises(InputError, match="bomb.png"), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        load_data(root, 4, image_size=32)


@pytest.mark.parametrize("name", [b"caf\xe9", "ｶﾌｪ\u0301".encode(), b"a\x1b[2Jb"])
def test_names_that_are_not_plain_text(tmp_path, name):
    root = photos(tmp_path / "p")
    for part in ("train", "test"):
        os.rename(root / part / "dark", os.path.join(os.fsencode(root / part), name))
    data = load_data(root, 4)
    assert all(c.isprintable() for c in data.classes) and len(data.classes) == 2
    assert data.classes[0] == data.classes[0].encode("utf-8").decode(), "it can be written to any file"


def test_a_run_on_images_without_classes_says_unknown_and_never_zero(tmp_path):
    settings = dict(num_labels=None, steps=12, batch_size=8, mu=1, probe_every=6, readout_every=12, device="cpu", threshold=0.0)
    run = train(TrainConfig(dataset=photos(tmp_path / "p"), method="fixmatch", **settings))
    last = run.history[-1]
    assert last["mask_rate"] == 1 and last["pseudo_label_accuracy"] is None and last["confident_half_accuracy"] is None
    for row in last["layer_benefit"]:
        assert row["benefit"] is None and row["alignment"] is None and row["wrong_rate"] is None and row["norm_true"] is None
        assert -1 <= row["interference"] <= 1 and row["norm_pseudo"] > 0 and not row["empty"], "what needs no true labels"
    assert last["readout"].pop("probe") is None, "all labels are not known"
    assert all(0 <= v <= 1 for v in last["readout"].values()), "with those there are"


@pytest.mark.parametrize("method", ["supervised", "fixmatch", "grad_relu", "avg_clustering", "layermatch", "freematch"])
def test_hidden_labels_change_no_weight(method):
    """No method reads the true labels of the pool: with them unknown, the same network is trained."""
    full = load_data("blobs", None)
    y = torch.where(torch.arange(1000) < 200, full.y_unlabelled, -1)
    hidden = split("blobs", full.x_unlabelled, y, full.x_test, full.y_test, full.classes, num_labels=None)
    assert torch.equal(hidden.y_labelled, full.y_unlabelled[:200]) and len(hidden.x_unlabelled) == 1000
    known = split("blobs", full.x_unlabelled, full.y_unlabelled, full.x_test, full.y_test, full.classes, num_labels=8)
    known = replace(known, x_labelled=hidden.x_labelled, y_labelled=hidden.y_labelled)
    config = TrainConfig(dataset="blobs", num_labels=200, method=method, steps=10, batch_size=8, mu=2, device="cpu")
    a, b = train(config.changed(num_labels=None), hidden), train(config, known)
    assert all(torch.equal(p, q) for p, q in zip(a.model.parameters(), b.model.parameters()))
    assert a.history[-1]["accuracy"] == b.history[-1]["accuracy"]
    if method != "supervised":
        assert a.history[-1]["pseudo_label_accuracy"] is None is not b.history[-1]["pseudo_label_accuracy"]


def test_data_scaled_to_another_size_than_the_config_says(tmp_path):
    data = load_data(photos(tmp_path / "p"), None, image_size=12)
    config = TrainConfig(dataset=tmp_path / "p", num_labels=None, image_size=8, steps=1, batch_size=4, mu=1)
    with pytest.raises(InputError, match="image_size=8 in the config, but the data have 12"):
        train(config, data)


def test_true_labels_that_are_unknown_cannot_be_learned_from():
    full = load_data("blobs", None)
    y = full.y_unlabelled.index_fill(0, torch.arange(500), -1)
    hidden = split("blobs", full.x_unlabelled, y, full.x_test, full.y_test, full.classes, num_labels=8)
    config = TrainConfig.from_dict(dict(dataset="blobs", num_labels=8, labels_from="truth", method="fixmatch", steps=4))
    with pytest.raises(InputError, match="labels_from='truth' needs the true class"):
        train(config, hidden)


# --- arrays -------------------------------------------------------------------------------------------------------------


def test_layouts_that_can_be_told_are_converted():
    images = torch.randint(0, 256, (20, 3, 8, 9), dtype=torch.uint8)
    y = torch.arange(20) % 4
    made = lambda x, y, x_test=images[:8], y_test=y[:8], **more: split("m", x, y, x_test, y_test, "abcd", num_labels=4, **more)
    plain = made(images, y)
    one_hot = torch.nn.functional.one_hot(y, 4)
    variants = [
        made(images.permute(0, 2, 3, 1), y), made(images.numpy(), y.numpy()), made(images, y.int()),
        made(images, y.view(-1, 1), y_test=y[:8].view(-1, 1)), made(images, one_hot, y_test=one_hot[:8].double()),
        made(images.permute(0, 2, 3, 1).numpy(), y.float()),
    ]  # fmt: skip
    for data in variants:
        assert torch.equal(data.x_unlabelled, images) and torch.equal(data.y_unlabelled, y) and torch.equal(data.y_test, y[:8])
        assert data.checksum == plain.checksum
    grey = made(images[:, 0], y, images[:8, 0])
    assert grey.sample_shape == (1, 8, 9) and grey.kind == "image"
    more = made(images, y, x_unlabelled=images[:5].permute(0, 2, 3, 1))
    assert (more.y_unlabelled[20:] == -1).all() and torch.equal(more.x_unlabelled[20:], images[:5])


@pytest.mark.parametrize(
    "change, named",
    [
        (dict(x=torch.full((20, 2), torch.nan)), "20 of 20 samples of x hold NaN"),
        (dict(x_test=torch.full((8, 2), 1e300, dtype=torch.float64)), "8 of 8 samples of x_test .*values beyond float32"),
        (dict(x_unlabelled=torch.full((3, 2), torch.inf)), "3 of 3 samples of x_unlabelled"),
        (dict(x=torch.rand(20, 3, 8, 8), x_test=torch.rand(8, 3, 8, 8)), "images are uint8"),
        (dict(x=torch.zeros(20, 2, dtype=torch.complex64)), "x is .*complex64"),
        (dict(x=torch.zeros(20, 2, 3, 4, 5)), "x is .20, 2, 3, 4, 5."),
        (dict(x_test=torch.zeros(8, 5)), "samples differ in shape: x .20, 2., x_test .8, 5."),
        (dict(y=torch.full((20,), -2)), "y holds labels from -2"),
        (dict(y_test=torch.full((8,), -1)), "y_test holds labels from -1"),
        (dict(y=torch.arange(20) % 4 + 0.5), "y is .20,. float32"),
        (dict(y=torch.rand(20, 4)), "y is .20, 4. float32"),
        (dict(y=torch.full((20,), -1)), "no sample of class 0 has a label|rarest class"),
        (dict(x=torch.zeros(20, 2).to_sparse(), x_test=torch.full((8, 2), torch.nan)), "8 of 8 samples of x_test"),
        (dict(classes={"a", "b", "c", "d"}), "classes is set"),
        (dict(x="no array"), "x is str, not an array of numbers"),
        (dict(classes=("a", "a", "b", "c")), "holds a name twice"),
        (dict(flip="no"), "flip is str 'no'; give True or False"),
    ],
)
def test_layouts_that_cannot_be_told_are_refused(change, named):
    y = torch.arange(20) % 4
    fine = dict(x=torch.randn(20, 2), y=y, x_test=torch.randn(8, 2), y_test=y[:8], classes="abcd")
    for n in (4, None):
        with pytest.raises(InputError, match=named):
            split("mine", **fine | change, num_labels=n)


@pytest.mark.parametrize("part", ["x_unlabelled", "x_test", "y_test", "x_val"])
def test_all_of_the_data_count(tmp_path, part):
    """A run is continued on the data it had: one changed value anywhere is noticed, another name or folder is not."""
    data = load_data("digits", 10, num_val=20)
    config = TrainConfig(dataset="digits", num_labels=10, num_val=20, steps=4, log_every=2, batch_size=4, mu=1, device="cpu")
    train(config, data, save=tmp_path / "run.pt")
    changed = getattr(data, part).clone()
    changed[-1] = (changed[-1] + 1) % 10
    with pytest.raises(InputError, match="run.pt was trained on other data"):
        train(data=replace(data, **{part: changed}), resume=tmp_path / "run.pt")
    assert train(data=data, resume=tmp_path / "run.pt").finished


def test_classes_are_told_by_name_whatever_system_wrote_them(tmp_path):
    """ "é" in one letter or in two: the same class, though the two sort differently."""
    root = photos(tmp_path / "p")
    for part, dark, light in (("train", "e\u0301clair", "ez"), ("test", "\u00e9clair", "ez")):
        os.rename(root / part / "dark", root / part / dark)
        os.rename(root / part / "light", root / part / light)
    data = load_data(root, None)
    bright = lambda x, y, c: x[y == c].float().mean()
    dark, light = data.classes.index("\u00e9clair"), data.classes.index("ez")
    for x, y in ((data.x_labelled, data.y_labelled), (data.x_test, data.y_test)):
        assert bright(x, y, dark) < 100 < bright(x, y, light)


def test_an_empty_folder_of_unlabelled_images_is_none(tmp_path):
    root = photos(tmp_path / "p", unlabelled=0)
    (root / "unlabelled").mkdir()
    assert load_data(root, None).truth_known
    (root / "unlabelled" / "notes.txt").write_text("none yet")
    with pytest.warns(UserWarning, match="notes.txt"):
        assert load_data(root, None).truth_known
