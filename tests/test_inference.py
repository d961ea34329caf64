"""What a trained run says of new images: the values, the CSV file, and what cannot be read."""

import csv
import os

import numpy as np
import pytest
import torch
from PIL import Image

from layermatch_lite import InputError, Run, TrainConfig, figures, load_data, predict, train
from layermatch_lite.cli import few_labels, main
from layermatch_lite.runs.inference import predict_folder
from layermatch_lite.studies import files
from layermatch_lite.studies.study import Study, carry_out


def write(folder, x, names):
    folder.mkdir(parents=True, exist_ok=True)
    for image, name in zip(x, names):
        Image.fromarray(image.squeeze(0).numpy()).save(folder / f"{name}.png")


@pytest.fixture(scope="module")
def digits(tmp_path_factory):
    """(folder of digits, of which 20 are labelled, the same as data, a saved run on the folder, how it went)."""
    tmp, data = tmp_path_factory.mktemp("digits"), load_data("digits", 20)
    for c in range(10):
        write(tmp / "mine" / "train" / str(c), data.x_labelled[data.y_labelled == c], range(2))
        write(tmp / "mine" / "test" / str(c), data.x_test[data.y_test == c], range(99))
    write(tmp / "mine" / "unlabelled" / "in" / "here", data.x_unlabelled[:300], range(300))
    options = "--no-flip --steps 150 --log-every 50 --batch-size 16 --mu 4 --device cpu".split()
    before = os.getcwd()
    os.chdir(tmp)
    try:
        status = main(["train", "--dataset", "mine", *options, "--out", "run.pt"])
    finally:
        os.chdir(before)
    return tmp, data, status


def table(path):
    with open(path, encoding="utf-8", newline="") as f:
        return list(csv.DictReader(f))


def test_from_a_folder_with_few_labels_to_a_table_of_predictions(digits, tmp_path, capsys):
    """The reason one trains at all. The working folder is another one, and nothing is found by chance."""
    tmp, data, status = digits
    run, out = tmp / "run.pt", tmp_path / "p.csv"
    assert status == 0 and Run.load(run).data["num_labels"] == 20, "all labels there are"
    assert main(["predict", str(run), str(tmp / "mine" / "unlabelled"), "--out", str(out)]) == 0
    assert "300 images" in capsys.readouterr().out
    rows = table(out)
    assert len(rows) == 300 and list(rows[0]) == ["file", "class", "confidence"]
    assert all(r["file"].startswith("in/here/") for r in rows)
    right = [int(r["class"]) == data.y_unlabelled[int(r["file"].split("/")[-1][:-4])] for r in rows]
    assert np.mean(right) > 0.6 and all(0.1 <= float(r["confidence"]) <= 1 for r in rows)
    before = out.read_bytes()
    assert main(["predict", str(run), str(tmp / "mine" / "unlabelled"), "--out", str(out)]) == 1
    assert "exists already and is kept" in capsys.readouterr().err and out.read_bytes() == before


def test_on_the_test_images_it_is_right_as_often_as_training_said(digits):
    tmp, data, _ = digits
    run = Run.load(tmp / "run.pt")
    labels, confidence = predict(run, data.x_test)
    assert (labels == data.y_test).double().mean() == pytest.approx(run.accuracy)
    again, _ = predict(run, data.x_test.permute(0, 2, 3, 1).numpy()[:7])
    assert torch.equal(again, labels[:7]) and confidence.dtype == torch.float32, "channels last, as an array"


def test_moved_images_are_found_and_others_refused(digits, tmp_path):
    tmp, *_ = digits
    run = Run.load(tmp / "run.pt")
    assert run.config.dataset == str(tmp / "mine"), "found from any working folder"
    moved = tmp_path / "elsewhere"
    os.rename(tmp / "mine", moved)
    try:
        with pytest.raises(InputError, match="is not a folder.*--dataset"):
            train(resume=tmp / "run.pt")
        assert train(run.config.changed(dataset=moved), resume=tmp / "run.pt").finished
        image = next((moved / "unlabelled").rglob("7.png"))
        content = image.read_bytes()
        Image.new("L", (8, 8), 9).save(image)
        with pytest.raises(InputError, match="trained on other data"):
            train(run.config.changed(dataset=moved), resume=tmp / "run.pt")
        image.write_bytes(content)
    finally:
        os.rename(moved, tmp / "mine")


def test_images_that_do_not_fit(digits, tmp_path):
    tmp, *_ = digits
    run, out = Run.load(tmp / "run.pt"), tmp_path / "p.csv"
    (tmp_path / "none").mkdir()
    Image.new("L", (9, 8)).save((tmp_path / "none") / "large.png")
    with pytest.raises(InputError, match="large.png is 9x8 pixels, and the run was trained on 8x8"):
        predict_folder(run, tmp_path / "none", out)
    (tmp_path / "none" / "large.png").write_bytes(b"broken")
    with pytest.raises(InputError, match="large.png is not a readable image.*--skip-broken"):
        predict_folder(run, tmp_path / "none", out)
    with pytest.raises(InputError, match="holds no images"):
        predict_folder(run, tmp_path / "none", out, skip_broken=True)
    Image.new("L", (8, 8)).save((tmp_path / "none") / "fine.png")
    with pytest.warns(UserWarning, match="left out 1 file: large.png"):
        assert predict_folder(run, tmp_path / "none", out, skip_broken=True).files == 1
    assert sorted(p.name for p in tmp_path.iterdir()) == ["none", "p.csv"], "nothing half-written or locked lies about"
    with pytest.raises(InputError, match="is not a folder"):
        predict_folder(run, tmp_path / "nowhere", tmp_path / "q.csv")
    with pytest.raises(InputError, match="not on images"):
        predict_folder(train(TrainConfig(steps=1, batch_size=8, mu=1)), tmp_path / "none", tmp_path / "q.csv")
    with pytest.raises(InputError, match="samples of shape .1, 8, 9."):
        predict(run, np.zeros((2, 8, 9), np.uint8))


@pytest.mark.slow
def test_a_demo_on_images_without_classes(digits, tmp_path, capsys, monkeypatch):
    """Unknown is "–", never 0; all labels are used; and a folder of that name elsewhere changes nothing."""
    tmp, *_ = digits
    options = "--no-flip --steps 60 --seeds 1 --workers 1 --batch-size 16".split()
    assert main(["demo", "--dataset", str(tmp / "mine"), *options, "--out", str(tmp_path)]) == 0
    out = capsys.readouterr().out
    assert "mine, 20 labels" in out and "nan" not in out and " – " in out and "Unknown here." in out
    assert (tmp_path / "demo.png").exists()
    (tmp_path / "unlabelled").mkdir()
    monkeypatch.chdir(tmp_path)
    assert few_labels("") == few_labels("digits") == {} and few_labels(str(tmp / "mine")) == {"num_labels": None}


def test_a_study_on_images_without_classes_is_kept(digits, tmp_path):
    tmp, *_ = digits
    tiny = dict(steps=4, batch_size=8, mu=1, probe_every=1, threshold=0.0)
    config = TrainConfig(dataset=tmp / "mine", num_labels=None, flip=False, **tiny)
    study = Study("own", "?", (0, 1), {"A": {"layermatch": config}}, {})
    content = carry_out(study, tmp_path / "s.json", workers=1, progress=False)
    late = files.load(tmp_path / "s.json")["runs"][0]["late_benefit"]["classifier"]
    assert content["runs"] and late == {"benefit": None, "alignment": None}


def test_the_least_sure_images_are_shown(digits, tmp_path):
    tmp, *_ = digits
    odd = os.path.join(os.fsencode(tmp_path), b"in", b"\xe4.png")
    os.makedirs(os.path.dirname(odd))
    with open(odd, "wb") as f:
        Image.new("L", (8, 8), 77).save(f, "PNG")
    predict_folder(Run.load(tmp / "run.pt"), tmp_path / "in", tmp_path / "p.csv")
    figure, alt = figures.unsure_figure(tmp_path / "p.csv", tmp_path / "in")
    assert figures.as_png(figure) and "1 images of which the run is least sure" in alt
    with pytest.raises(InputError, match="has no .*png; give the folder"):
        figures.unsure_figure(tmp_path / "p.csv", tmp_path)
    (tmp_path / "q.csv").write_text("file,class,confidence\n")
    for table in (tmp_path / "q.csv", tmp / "run.pt"):
        with pytest.raises(InputError, match="is damaged, or is not a table of predictions"):
            figures.unsure_figure(table, tmp_path / "in")


def test_a_run_trained_with_scaling_scales(tmp_path):
    rng = np.random.default_rng(0)
    for part, n in (("train", 6), ("unlabelled", 20)):
        for c in ("a", "b") if part == "train" else ("",):
            (tmp_path / "p" / part / c).mkdir(parents=True, exist_ok=True)
            for i in range(n):
                size = (int(rng.integers(20, 50)), int(rng.integers(20, 50)), 3)
                Image.fromarray(rng.integers(0, 256, size, dtype=np.uint8)).save(tmp_path / "p" / part / c / f"{i}.jpg")
    options = "--image-size 16 --test-share 0.34 --steps 4 --batch-size 4 --mu 2 --device cpu".split()
    assert main(["train", "--dataset", str(tmp_path / "p"), *options, "--out", str(tmp_path / "r.pt")]) == 0
    assert predict_folder(Run.load(tmp_path / "r.pt"), tmp_path / "p", tmp_path / "p.csv").files == 32
