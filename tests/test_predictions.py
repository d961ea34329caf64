"""Predictions: scored as stated, kept whatever happens, drawn for one and for a class; the widget's buttons do it."""

import json
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from layermatch_lite import InputError
from layermatch_lite.cli import main
from layermatch_lite.course import predict_curve, predict_order, predict_value
from layermatch_lite.course.predictions import (
    Question,
    class_picture,
    collect,
    first_blind,
    judge,
    keep,
    load,
    own_file,
    picture,
    ranked,
)

VALUE = Question("v", "How much?", "value", 0, 10, unit="h")
LOG = Question("l", "How long?", "value", 0.1, 1000, unit="h", log=True)
CURVE = Question("c", "Which curve?", "curve", 0, 1, label="right", x=("0", "0.5", "1"), xlabel="errors")
ORDER = Question("o", "Which is best?", "order", label="accuracy", items=("A", "B", "C"))
RESULTS = {VALUE: 4.0, LOG: 10.0, CURVE: [1.0, 0.5, 0.0], ORDER: {"A": 0.5, "B": 0.7, "C": 0.6}}


@pytest.fixture
def path(tmp_path, monkeypatch):
    monkeypatch.setenv("LAYERMATCH_PREDICTIONS", str(tmp_path / "mine.json"))
    return tmp_path / "mine.json"


def test_scores_by_hand():
    assert judge(VALUE, 4.0, 4.0) == (100, "You said 4 h, and so it is.")
    assert judge(VALUE, 1.0, 4.0) == (70, "You said 1 h; it is 4 h, more by 3 h.")
    assert judge(LOG, 1.0, 10.0) == (75, "You said 1 h; it is 10 h, more by a factor of 10.")
    score, told = judge(CURVE, [1.0, 0.8, 0.0], [1.0, 0.5, 0.0])
    assert score == 90 and "On average off by 0.1; most at errors 0.5, where you said 0.8 and it is 0.5." == told
    assert judge(ORDER, ["B", "C", "A"], RESULTS[ORDER])[0] == 100
    score, told = judge(ORDER, ["A", "B", "C"], RESULTS[ORDER])
    assert score == 33 and told == "1 of 3 pairs are in the right order; first is B, you said A."
    assert judge(ORDER, ["A", "C", "B"], dict.fromkeys("ABC", 0.5))[0] == 100, "ties are nobody's error"


@given(st.floats(0, 10), st.floats(0, 10))
def test_a_value_scores_by_its_distance(said, came):
    score, _ = judge(VALUE, said, came)
    assert 0 <= score <= 100 and judge(VALUE, came, said)[0] == score
    assert score == 100 or said != came


@given(st.permutations(["A", "B", "C"]), st.permutations([0.1, 0.2, 0.3]))
def test_an_order_and_its_reverse_share_all_pairs(said, values):
    result = dict(zip("ABC", values))
    assert judge(ORDER, said, result)[0] + judge(ORDER, said[::-1], result)[0] == pytest.approx(100, abs=1)
    assert judge(ORDER, ranked(result), result)[0] == 100


@pytest.mark.parametrize(
    "question, prediction, words",
    [
        (VALUE, 11, r"prediction=11 is not allowed; give a number in \[0, 10\]"),
        (VALUE, float("nan"), "prediction=nan"),
        (VALUE, "much", "prediction='much'"),
        (CURVE, [0.1, 0.2], "give 3 numbers, one for each of 0, 0.5, 1"),
        (CURVE, [0.1, 0.2, 7], "prediction=7"),
        (ORDER, ["A", "A", "B"], "A stands twice; give each of A, B, C one place"),
        (ORDER, ["A", "B"], "is not an order"),
        (ORDER, 3, "is not an order"),
    ],
)
def test_a_prediction_that_is_none(question, prediction, words, path):
    keep(path, question, prediction=question.check({VALUE: 1, CURVE: [0, 0, 0], ORDER: list("ABC")}[question]))
    before = path.read_bytes()
    with pytest.raises(InputError, match=words):
        keep(path, question, prediction=prediction)
    assert path.read_bytes() == before


@pytest.mark.parametrize(
    "settings, words",
    [
        ({"kind": "guess"}, "choose from value, curve, order"),
        ({"kind": "order", "items": ("A",)}, "at least two items"),
        ({"kind": "order", "items": ("A", "A")}, "each once"),
        ({"kind": "curve", "x": ("1",)}, "at least two places"),
        ({"kind": "value", "low": 1, "high": 1}, "high=1"),
        ({"kind": "value", "log": True}, "low=0"),
        ({"kind": "value", "low": float("-inf")}, "low=-inf"),
        ({"kind": "value", "label": r"$\x$"}, "plain text"),
        ({"kind": "order", "items": ("A", "B\nleft out: bob.json")}, "in one line"),
    ],
)
def test_a_question_that_is_none(settings, words):
    with pytest.raises(InputError, match=words):
        Question("q", "?", **settings)


def test_the_file_keeps_every_attempt_and_knows_which_was_blind(path):
    keep(path, VALUE, prediction=1.0)
    keep(path, VALUE, prediction=2.0)
    keep(path, VALUE, result=4.0)
    keep(path, VALUE, prediction=4.0)
    entry = load(path)["v"]
    assert [(a["prediction"], a["blind"]) for a in entry["attempts"]] == [(1, True), (2, True), (4, False)]
    assert first_blind(entry) == 1 and entry["result"] == 4.0
    keep(path, ORDER, prediction=["B", "A", "C"])
    assert set(load(path)) == {"v", "o"} and not list(path.parent.glob("*.tmp"))


@pytest.mark.parametrize(
    "content",
    ["", "[]", "{", '{"format": 2, "predictions": {}}', '{"format": 1}', '{"format": 1, "predictions": {"v": {}}}',
     '{"format": 1, "predictions": {"v": {"question": {"name": "v", "text": "", "kind": "value"}, "attempts": [{}]}}}',
     '{"format": 1, "predictions": {"v": {"question": {"name": "v", "text": "", "kind": "value", "evil": 1}, "attempts": []}}}'],
)  # fmt: skip
def test_a_damaged_file_is_named_and_left_as_it_is(content, path, capsys):
    path.write_text(content)
    with pytest.raises(InputError, match="mine.json holds no predictions.*rename it"):
        keep(path, VALUE, prediction=1.0)
    assert path.read_text() == content
    widget = predict_value("v", "How much?", high=10)
    assert widget.error.value
    widget.commit_button.click()
    assert widget.error.value and path.read_text() == content
    widget.reveal(3.0)  # goes on
    assert "cannot be read or kept" in capsys.readouterr().out


def hostile(kind: str, prediction, result, **settings) -> dict:
    """A file's predictions: one question with an attempt and a result, so that it would be drawn."""
    name = settings.pop("name", kind)
    attempts = settings.pop("attempts", [{"prediction": prediction, "at": "", "blind": settings.pop("blind", True)}])
    older = {"older": settings.pop("older")} if "older" in settings else {}
    question = {"name": name, "text": "", "kind": kind, **settings}
    return {name: {"question": question, "attempts": attempts, "result": result, **older}}


HOSTILE = {
    "outside": hostile("value", 0.5, 0.5, name="../../evil"),
    "huge": hostile("value", 0.5, 10**400),
    "curve": hostile("curve", [0, 0], [1], x=["1", "2"]),
    "order": hostile("order", ["A", "B"], 3, items=["A", "B"]),
    "numbers": hostile("order", [1, 2], {"1": 1, "2": 2}, items=["1", "2"]),
    "long": hostile("value", 0.5, 0.5, text="x" * 10**6),
    "list": hostile("value", 0.5, 0.5, text=["t"]),
    "label": hostile("value", 0.5, 0.5, label=5),
    "formula": hostile("value", 0.5, 0.5, label="$\\x$"),
    "endless": hostile("value", 0.5, 0.5, low=float("-inf")),
    "places": hostile("curve", [0, 0], [0, 0], x=[None, {}]),
    "screen": hostile("value", 0.5, 0.5, text="\x1b[2J\nleft out: bob.json"),
    "blind": hostile("value", 0.5, 0.5, blind=2),
    "attempts": hostile("value", 0.5, 0.5, attempts={}),
    "older": hostile("value", 0.5, 0.5, older=5),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_an_odd_file_of_ones_own_is_named_and_left_as_it_is(name, path, capsys):
    path.write_text(json.dumps({"format": 1, "predictions": HOSTILE[name]}))
    before = path.read_bytes()
    widget = predict_value("value", "How much?", high=10)
    widget.commit_button.click()
    assert widget.error.value
    widget.reveal(3.0)  # goes on
    assert "cannot be read or kept" in capsys.readouterr().out and path.read_bytes() == before


def test_the_largest_numbers_can_be_drawn(tmp_path):
    wide = Question("v", "How much?", "value", -1e100, 1e100)
    curve = Question("c", "How?", "curve", -1e100, 1e100, x=("0", "1"))
    for question, said, came in ((wide, 0.0, 1e100), (curve, [-1e100, 0], [1e100, 1e100])):
        picture(question, said, came)[0].savefig(tmp_path / "wide.png")


def test_a_folder_that_cannot_be_written(path, monkeypatch):
    path.write_text("a file, no folder")
    monkeypatch.setenv("LAYERMATCH_PREDICTIONS", str(path / "mine.json"))
    widget = predict_value("v", "How much?", high=10)
    widget.commit_button.click()
    assert widget.error.value and not widget.commit_button.disabled


@pytest.mark.parametrize("question", RESULTS, ids=lambda q: q.kind + q.name)
def test_pictures_say_what_they_show(question):
    said = {"value": 3.0, "curve": [0.5, 0.5, 0.5], "order": ["A", "B", "C"]}[question.kind]
    for prediction, result in ((said, None), (said, RESULTS[question]), (None, RESULTS[question])):
        figure, alt = picture(question, prediction, result)
        assert alt.startswith(question.text) and ("Predicted" in alt) == (prediction is not None)
        assert ("Result" in alt) == (result is not None) and figure.axes


def test_a_result_outside_the_range_is_seen():
    above = Question("a", "How much?", "value", 1, 3)
    for question, result in ((VALUE, 14.0), (VALUE, -3.0), (above, 0.0)):
        low, high = picture(question, 3.0, result)[0].axes[0].get_xlim()
        assert low <= result <= high


def test_a_class(tmp_path, capsys):
    folder = tmp_path / "class"
    for k, name in enumerate(("ada", "bob", "eve")):
        file = folder / f"{name}.json"
        keep(file, VALUE, prediction=float(k))
        keep(file, VALUE, result=4.0)
        keep(file, ORDER, prediction=[list("ABC"), list("BCA"), list("BAC")][k])
        keep(file, CURVE, prediction=[1.0, k / 2, 0.0])
    late = folder / "late.json"
    keep(late, VALUE, result=4.0)
    keep(late, VALUE, prediction=4.0)
    (folder / "broken.json").write_text("{")
    questions, unread = collect(folder)
    assert set(questions) == {"v", "o", "c"} and len(unread) == 1 and "broken.json" in unread[0]
    _, alt = class_picture(questions["v"])
    assert "3 predictions. Predicted: median 1 h, from 0 to 2. Result: 4 h. Mean score 70 of 100." in alt
    assert "B put at places 1 by 2, 2 by 1" in class_picture(questions["o"])[1]
    assert main(["predictions", str(folder), "--out", str(tmp_path / "out")]) == 0
    told = capsys.readouterr().out
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == ["c.png", "o.png", "v.png"]
    assert "left out: " in told and "broken.json" in told and "3 predictions" in told


def test_odd_files_are_left_out_and_the_others_drawn(tmp_path, capsys):
    folder = tmp_path / "class"
    keep(folder / "ada.json", VALUE, prediction=1.0)
    keep(folder / "bob.json", VALUE, prediction=2.0)
    keep(folder / "other.json", Question("v", "How much?", "order", items=("A", "B")), prediction=["A", "B"])
    (folder / "deep.json").write_text("[" * 100_000)
    for name, content in HOSTILE.items():
        (folder / f"{name}.json").write_text(json.dumps({"format": 1, "predictions": content}))
    assert main(["predictions", str(folder), "--out", str(tmp_path / "out")]) == 0
    told = capsys.readouterr().out
    assert [p.name for p in tmp_path.rglob("*.png")] == ["v.png"] and "2 predictions" in told
    assert told.count("left out: ") == len(HOSTILE) + 2 and "another version of the notebook" in told


def test_no_class(tmp_path, capsys):
    assert main(["predictions", str(tmp_path / "none")]) == 1 and "no folder" in capsys.readouterr().err
    assert main(["predictions", str(tmp_path)]) == 1 and "no predictions in" in capsys.readouterr().err


# --- the widget ----------------------------------------------------------------------------------------------------------


def test_commit_lock_reveal_and_another_attempt(path, capsys):
    widget = predict_value("v", "How much?", high=10, unit="h")
    assert not path.exists(), "looking keeps nothing"
    widget.fields[0].value = 3.0
    widget.commit_button.click()
    assert widget.commit_button.disabled and widget.fields[0].disabled and "Committed" in widget.told.value
    widget.reveal(4.0)
    assert "You said 3 h; it is 4 h, more by 1 h. Score: 90 of 100." in capsys.readouterr().out
    again = predict_value("v", "How much?", high=10, unit="h")  # the cell is run again, tomorrow
    assert again.fields[0].value == 3.0 and again.commit_button.disabled
    again.again_button.click()
    again.fields[0].value = 4.0
    again.commit_button.click()
    again.reveal(4.0)
    assert "Committed when the result was known" in capsys.readouterr().out
    assert first_blind(load(path)["v"]) == 3.0


def test_without_a_prediction_the_notebook_goes_on(path, capsys):
    predict_order("o", "Which?", ["A", "B"]).reveal({"A": 1, "B": 2})
    assert "No prediction was committed" in capsys.readouterr().out


def test_a_curve_is_drawn_as_the_sliders_move(path):
    widget = predict_curve("c", "Which curve?", (0, 0.5, 1), xlabel="errors", label="right")
    before = widget.sketch.png, widget.sketch.alt
    widget.fields[1].value = 0.9
    assert widget.sketch.png != before[0] and "0.9 at 0.5" in widget.sketch.alt
    widget.commit_button.click()
    assert json.loads(path.read_text())["predictions"]["c"]["attempts"][0]["prediction"] == [0.5, 0.9, 0.5]


def test_an_order_with_an_item_twice_is_not_taken(path):
    widget = predict_order("o", "Which?", ["A", "B"])
    widget.fields[0].value = "B"
    widget.commit_button.click()
    assert "B stands twice" in widget.error.value and not path.exists() and not widget.commit_button.disabled


def test_a_prediction_for_an_older_question_is_not_lost(path):
    predict_value("v", "How much?", high=10).commit_button.click()
    newer = predict_value("v", "How much?", high=3)
    assert not newer.commit_button.disabled, "another question"
    newer.reveal(2.0)
    entry = load(path)["v"]
    assert entry["attempts"] == [] and entry["result"] == 2.0
    assert [o["attempts"][0]["prediction"] for o in entry["older"]] == [5.0]


def test_a_prediction_after_the_result_says_so(path):
    widget = predict_value("v", "How much?", high=10)
    widget.reveal(2.0)
    widget.commit_button.click()
    assert "known already" in widget.told.value


@pytest.mark.parametrize(
    "result", [float("nan"), None, "x", [1.0], 10**400, np.eye(2)], ids=["nan", "None", "text", "list", "huge", "matrix"]
)
def test_a_result_that_is_none_does_not_stop_the_notebook(result, path, capsys):
    predict_value("v", "How much?", high=10).reveal(result)
    assert "Nothing to show: " in capsys.readouterr().out and not path.exists()


@pytest.mark.parametrize("four", [4, np.float32(4), np.array(4.0), torch.tensor(4.0), torch.tensor(4)], ids=repr)
def test_a_result_may_be_anything_that_is_a_number(four, path, capsys):
    predict_value("v", "How much?", high=10).reveal(four)
    assert "No prediction was committed" in capsys.readouterr().out and load(path)["v"]["result"] == 4.0


def test_an_empty_setting_means_the_usual_place(monkeypatch):
    monkeypatch.setenv("LAYERMATCH_PREDICTIONS", "")
    assert own_file().name == "my_predictions.json"


def test_three_notebooks_at_once_lose_nothing(path):
    """Each call opens the lock's file anew, so threads stand for processes."""
    commit = lambda n: keep(path, Question(f"q{n}", "?", "value"), prediction=0.5)
    with ThreadPoolExecutor(3) as pool:
        list(pool.map(commit, range(45)))
    assert len(load(path)) == 45
