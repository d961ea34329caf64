"""Predictions: scored as stated, kept whatever happens, drawn for one and for a class; the widget's buttons do it."""

import json
import multiprocessing

import pytest
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
    assert "lml-error" in widget.told.value
    widget.commit_button.click()
    assert "lml-error" in widget.told.value and path.read_text() == content
    widget.reveal(3.0)  # goes on
    assert "cannot be read or kept" in capsys.readouterr().out


def test_a_folder_that_cannot_be_written(path, monkeypatch):
    path.write_text("a file, no folder")
    monkeypatch.setenv("LAYERMATCH_PREDICTIONS", str(path / "mine.json"))
    widget = predict_value("v", "How much?", high=10)
    widget.commit_button.click()
    assert "lml-error" in widget.told.value and not widget.commit_button.disabled


@pytest.mark.parametrize("question", RESULTS, ids=lambda q: q.kind + q.name)
def test_pictures_say_what_they_show(question):
    said = {"value": 3.0, "curve": [0.5, 0.5, 0.5], "order": ["A", "B", "C"]}[question.kind]
    for prediction, result in ((said, None), (said, RESULTS[question]), (None, RESULTS[question])):
        figure, alt = picture(question, prediction, result)
        assert alt.startswith(question.text) and ("Predicted" in alt) == (prediction is not None)
        assert ("Result" in alt) == (result is not None) and figure.axes


def test_a_result_outside_the_range_is_seen():
    for result in (14.0, -3.0):
        low, high = picture(VALUE, 3.0, result)[0].axes[0].get_xlim()
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


HOSTILE = {
    "outside": {"../../evil": {"question": {"name": "../../evil", "text": "", "kind": "value"}, "attempts": []}},
    "huge": {"v": {"question": {"name": "v", "text": "", "kind": "value"}, "attempts": [], "result": 10**400}},
    "curve": {"c": {"question": {"name": "c", "text": "", "kind": "curve", "x": ["1", "2"]}, "attempts": [], "result": [1]}},
    "order": {"o": {"question": {"name": "o", "text": "", "kind": "order", "items": ["A", "B"]}, "attempts": [], "result": 3}},
    "long": {"v": {"question": {"name": "v", "text": "x" * 10**6, "kind": "value"}, "attempts": []}},
    "blind": {"v": {"question": {"name": "v", "text": "", "kind": "value"},
              "attempts": [{"prediction": 0.5, "at": "", "blind": 2}]}},
}  # fmt: skip


def test_odd_files_are_left_out_and_the_others_drawn(tmp_path, capsys):
    folder = tmp_path / "class"
    keep(folder / "ada.json", VALUE, prediction=1.0)
    keep(folder / "bob.json", VALUE, prediction=2.0)
    keep(folder / "other.json", Question("v", "How much?", "order", items=("A", "B")), prediction=["A", "B"])
    (folder / "deep.json").write_text("[" * 100_000)
    for name, predictions in HOSTILE.items():
        (folder / f"{name}.json").write_text(json.dumps({"format": 1, "predictions": predictions}))
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
    assert "B stands twice" in widget.told.value and not path.exists() and not widget.commit_button.disabled


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


@pytest.mark.parametrize("result", [float("nan"), None, "x", [1.0], 10**400], ids=["nan", "None", "text", "list", "huge"])
def test_a_result_that_is_none_does_not_stop_the_notebook(result, path, capsys):
    predict_value("v", "How much?", high=10).reveal(result)
    assert "Nothing to show: " in capsys.readouterr().out and not path.exists()


def test_an_empty_setting_means_the_usual_place(monkeypatch):
    monkeypatch.setenv("LAYERMATCH_PREDICTIONS", "")
    assert own_file().name == "my_predictions.json"


def _commit(path, k):
    for n in range(15):
        keep(path, Question(f"q{k}-{n}", "?", "value"), prediction=0.5)


def test_two_notebooks_at_once_lose_nothing(path):
    context = multiprocessing.get_context("spawn")
    others = [context.Process(target=_commit, args=(path, k)) for k in range(3)]
    for p in others:
        p.start()
    for p in others:
        p.join()
    assert len(load(path)) == 45
