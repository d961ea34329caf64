"""Predictions: scored as stated, kept whatever happens, drawn for one and for a class; the widget's buttons do it."""

import json
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.figure import Figure

from layermatch_lite import InputError
from layermatch_lite.cli import main
from layermatch_lite.course import predict_curve, predict_order, predict_value
from layermatch_lite.course.prediction_pictures import draw
from layermatch_lite.course.predictions import class_picture, collect, first_blind, keep, load, own_file
from layermatch_lite.course.questions import Question, judge, ranked

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
    """And what the sentence must name: both values and the gap."""
    by_hand = [
        (VALUE, 4.0, 4.0, 100, ["4 h"]),
        (VALUE, 1.0, 4.0, 70, ["1 h", "4 h", "more", "3 h"]),
        (VALUE, 7.0, 4.0, 70, ["less", "3 h"]),
        (LOG, 1.0, 10.0, 75, ["1 h", "10 h", "factor of 10"]),
        (LOG, 1.0, -1.0, 75, ["-1 h", "2 h"]),  # no factor leads there
        (CURVE, [1.0, 0.8, 0.0], [1.0, 0.5, 0.0], 90, ["0.1", "errors 0.5", "0.8"]),
        (ORDER, ["B", "C", "A"], RESULTS[ORDER], 100, ["3 of 3"]),
        (ORDER, ["A", "B", "C"], RESULTS[ORDER], 33, ["1 of 3", "B", "A"]),
        (ORDER, ["A", "C", "B"], dict.fromkeys("ABC", 0.5), 100, ["3 of 3"]),  # a tie is nobody's error
    ]
    for question, prediction, result, score, named in by_hand:
        found, sentence = judge(question, prediction, result)
        assert found == score and all(n in sentence for n in named), (question.name, found, sentence)


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
        (VALUE, 11, r"11.*\[0, 10\]"),
        (VALUE, float("nan"), "nan"),
        (VALUE, "much", "'much'"),
        (CURVE, [0.1, 0.2], "3 numbers.*0, 0.5, 1"),
        (CURVE, [0.1, 0.2, 7], "7"),
        (ORDER, ["A", "A", "B"], "A .*twice.*A, B, C"),
        (ORDER, ["A", "B"], "A, B, C"),
        (ORDER, 3, "A, B, C"),
    ],
)
def test_an_invalid_prediction(question, prediction, words, path):
    keep(path, question, prediction=question.check({VALUE: 1, CURVE: [0, 0, 0], ORDER: list("ABC")}[question]))
    before = path.read_bytes()
    with pytest.raises(InputError, match=words):
        keep(path, question, prediction=prediction)
    assert path.read_bytes() == before


@pytest.mark.parametrize(
    "settings, named",
    [
        ({"kind": "guess"}, "value, curve, order"),
        ({"kind": "order", "items": ("A",)}, "items"),
        ({"kind": "order", "items": ("A", "A")}, "items"),
        ({"kind": "curve", "x": ("1",)}, "x="),
        ({"kind": "value", "low": 1, "high": 1}, "high=1"),
        ({"kind": "value", "log": True}, "low=0"),
        ({"kind": "value", "low": float("-inf")}, "low=-inf"),
        ({"kind": "value", "label": r"$\x$"}, "plain text"),
        ({"kind": "order", "items": ("A", "B\nleft out: bob.json")}, "plain text"),
    ],
)
def test_an_invalid_question(settings, named):
    with pytest.raises(InputError, match=named):
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
def test_a_damaged_file_is_named_and_left_as_it_is(content, path):
    path.write_text(content)
    with pytest.raises(InputError, match="mine.json"):
        keep(path, VALUE, prediction=1.0)
    assert path.read_text() == content


def test_a_damaged_file_does_not_stop_the_notebook(path, shown):
    path.write_text("{")
    widget = predict_value("v", "How much?", high=10)
    assert "mine.json" in widget.alert.value
    widget.commit_button.click()
    assert "mine.json" in widget.alert.value and path.read_text() == "{"
    widget.reveal(3.0)
    assert "mine.json" in shown[-1]


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
def test_an_odd_file_is_named_and_left_as_it_is(name, path):
    path.write_text(json.dumps({"format": 1, "predictions": HOSTILE[name]}))
    before = path.read_bytes()
    with pytest.raises(InputError, match="mine.json"):
        keep(path, VALUE, prediction=1.0)
    assert path.read_bytes() == before


def test_the_largest_numbers_can_be_drawn(tmp_path):
    wide = Question("v", "How much?", "value", -1e100, 1e100)
    curve = Question("c", "How?", "curve", -1e100, 1e100, x=("0", "1"))
    for question, said, came in ((wide, 0.0, 1e100), (curve, [-1e100, 0], [1e100, 1e100])):
        draw(question, [said], came)[0].savefig(tmp_path / "wide.png")


def test_a_folder_that_cannot_be_written(path, monkeypatch):
    path.write_text("a file, no folder")
    monkeypatch.setenv("LAYERMATCH_PREDICTIONS", str(path / "mine.json"))
    widget = predict_value("v", "How much?", high=10)
    widget.commit_button.click()
    assert widget.alert.value and not widget.commit_button.disabled


@pytest.mark.parametrize("question", RESULTS, ids=lambda q: q.kind + q.name)
def test_pictures_say_what_they_show(question):
    said = {"value": 3.0, "curve": [0.5, 0.5, 0.5], "order": ["A", "B", "C"]}[question.kind]
    for predictions, result in (([said], None), ([said], RESULTS[question]), ([], RESULTS[question])):
        figure, alt = draw(question, predictions, result)
        assert alt.startswith(question.text) and ("Predicted" in alt) == bool(predictions)
        assert ("Result" in alt) == (result is not None) and figure.axes


def test_a_result_outside_the_range_is_seen():
    above = Question("a", "How much?", "value", 1, 3)
    for question, result in ((VALUE, 14.0), (VALUE, -3.0), (above, 0.0)):
        low, high = draw(question, [3.0], result)[0].axes[0].get_xlim()
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
    questions, left_out = collect(folder)
    assert set(questions) == {"v", "o", "c"} and len(left_out) == 1 and "broken.json" in left_out[0]
    _, alt = class_picture(questions["v"])
    assert all(n in alt for n in ("3 predictions", "median 1 h", "0 to 2", "4 h", "70 of 100")), alt
    assert "1 by 2, 2 by 1" in class_picture(questions["o"])[1], "two put B first, one second"
    assert main(["predictions", str(folder), "--out", str(tmp_path / "out")]) == 0
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == ["c.png", "o.png", "v.png"]
    assert alt in (out := capsys.readouterr().out) and "broken.json" in out


def test_odd_files_are_left_out_and_the_others_drawn(tmp_path, capsys):
    folder = tmp_path / "class"
    keep(folder / "ada.json", VALUE, prediction=1.0)
    keep(folder / "bob.json", VALUE, prediction=2.0)
    keep(folder / "other.json", Question("v", "How much?", "order", items=("A", "B")), prediction=["A", "B"])
    (folder / "deep.json").write_text("[" * 100_000)
    for name, content in HOSTILE.items():
        (folder / f"{name}.json").write_text(json.dumps({"format": 1, "predictions": content}))
    assert main(["predictions", str(folder), "--out", str(tmp_path / "out")]) == 0
    out = capsys.readouterr().out.splitlines()
    assert [p.name for p in tmp_path.rglob("*.png")] == ["v.png"] and "2 predictions" in out[0]
    assert len(out) == 1 + len(HOSTILE) + 2 and sum("other's answer" in line for line in out) == 1


def test_no_class(tmp_path, capsys):
    for folder in (tmp_path / "none", tmp_path):
        assert main(["predictions", str(folder)]) == 1 and str(folder) in capsys.readouterr().err


# --- the widget ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def shown(monkeypatch):
    """What `reveal` says, in order."""
    said = []
    monkeypatch.setattr("IPython.display.display", lambda output, **_: said.append(str(output.data)))
    return said


def test_a_prediction_is_drawn_into_the_figure_that_shows_the_result(path, monkeypatch):
    """A curve at its places, numbers or names; a value as a line across the panel."""
    drawn = []
    monkeypatch.setattr("layermatch_lite.figures.output.show", drawn.append)
    for widget, result, at in (
        (predict_curve("c", "Which?", (0.0, 0.4)), [1, 0], [0.0, 0.4]),
        (predict_curve("d", "Which?", ("conv 1", "fc")), [1, 0], [0, 1]),
        (predict_value("v", "How much?"), 1.0, [0, 1]),
    ):
        figure = Figure()
        figure.subplots(1, 2)
        if "conv 1" in widget.question.x:
            figure.axes[1].set_xticks(at, widget.question.x)
        widget.commit()
        widget.reveal(result, on=(figure, "Two panels."), panel=1)
        (line,) = figure.axes[1].lines
        assert list(line.get_xdata()) == at and set(line.get_ydata()) == {0.5} and not figure.axes[0].lines
        assert drawn[-1][1].startswith("Two panels.") and "0.5" in drawn[-1][1]


def test_commit_lock_reveal_and_another_attempt(path, shown):
    widget = predict_value("v", "How much?", high=10, unit="h")
    assert not path.exists(), "looking keeps nothing"
    widget.fields[0].value = 3.0
    widget.commit_button.click()
    assert widget.commit_button.disabled and widget.fields[0].disabled and widget.message.value
    widget.reveal(4.0)
    assert "90 of 100" in shown[-1]
    again = predict_value("v", "How much?", high=10, unit="h")  # the cell is run again, tomorrow
    assert again.fields[0].value == 3.0 and again.commit_button.disabled
    again.again_button.click()
    again.fields[0].value = 4.0
    again.commit_button.click()
    again.reveal(4.0)
    assert "100 of 100" in shown[-1] and first_blind(load(path)["v"]) == 3.0


def test_without_a_prediction_nothing_is_scored(path, shown):
    predict_order("o", "Which?", ["A", "B"]).reveal({"A": 1, "B": 2})
    assert "of 100" not in shown[-1] and "B, A" in shown[-1] and load(path)["o"]["result"] == {"A": 1, "B": 2}


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
    assert "B" in widget.alert.value and not path.exists() and not widget.commit_button.disabled


def test_a_prediction_for_an_older_question_is_not_lost(path):
    predict_value("v", "How much?", high=10).commit_button.click()
    newer = predict_value("v", "How much?", high=3)
    assert not newer.commit_button.disabled, "another question"
    newer.reveal(2.0)
    entry = load(path)["v"]
    assert entry["attempts"] == [] and entry["result"] == 2.0
    assert [o["attempts"][0]["prediction"] for o in entry["older"]] == [5.0]


def test_a_prediction_after_the_result_says_so(path):
    before, after = (predict_value(name, "How much?", high=10) for name in ("v", "w"))
    after.reveal(2.0)
    for widget in (before, after):
        widget.commit_button.click()
    assert len(after.message.value) > len(before.message.value), "one sentence more"


@pytest.mark.parametrize(
    "result", [float("nan"), None, "x", [1.0], 10**400, np.eye(2)], ids=["nan", "None", "text", "list", "huge", "matrix"]
)
def test_an_invalid_result_does_not_stop_the_notebook(result, path, shown):
    predict_value("v", "How much?", high=10).reveal(result)
    assert shown and not path.exists()


@pytest.mark.parametrize("four", [4, np.float32(4), np.array(4.0), torch.tensor(4.0), torch.tensor(4)], ids=repr)
def test_a_result_may_be_anything_that_is_a_number(four, path):
    predict_value("v", "How much?", high=10).reveal(four)
    assert load(path)["v"]["result"] == 4.0


def test_an_empty_setting_means_the_usual_place(monkeypatch):
    monkeypatch.setenv("LAYERMATCH_PREDICTIONS", "")
    assert own_file().name == "my_predictions.json"


def test_three_notebooks_at_once_lose_nothing(path):
    """Each call opens its own lock file, so threads stand for processes."""
    commit = lambda n: keep(path, Question(f"q{n}", "?", "value"), prediction=0.5)
    with ThreadPoolExecutor(3) as pool:
        list(pool.map(commit, range(45)))
    assert len(load(path)) == 45
