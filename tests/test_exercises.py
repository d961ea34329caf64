"""The exercises accept every right answer, say what is wrong with a wrong one, and never stop a notebook."""

import functools
import itertools
import math
from pathlib import Path

import nbformat
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from layermatch_lite import AvgClustering, InputError, fixmatch_loss, pseudo_label_loss
from layermatch_lite.core import theory
from layermatch_lite.core.losses import pseudo_label
from layermatch_lite.course import check, editions, hint
from layermatch_lite.course.review import draw, look_at
from layermatch_lite.course.tasks import TASKS

ROOT = Path(__file__).parents[1]
SOLUTIONS = sorted(path.stem for path in (ROOT / "solutions").glob("[0-9]*.py"))
SOURCES = {name: code for notebook in SOLUTIONS for name, (_, code) in editions.exercises(notebook).items()}


def review(name, answer, seed=0):
    return look_at(name, TASKS[name], answer, seed)


def defined(name, code):
    """The function of a cell, run with the imports that its notebook has."""
    namespace = {"torch": torch, "F": F, "math": math, "itertools": itertools, "np": np}
    exec(code, namespace)
    return namespace[name]


# Independent of the mistakes in course/tasks: what students write, and None if it is a known mistake, else the name or the
# number that the message must give.
WRONG = {
    "labels_and_mask": [
        (lambda p, tau: (p.argmax(1), p.max(1).values > tau), None),
        (lambda p, tau: (p.max(1).values >= tau, p.argmax(1)), None),
        (lambda p, tau: (p.argmax(dim=0), p.max(dim=0).values >= tau), None),
        (lambda p, tau: (p.max(1).values, p.argmax(1)), "entry 0"),
        (lambda p, tau: p.argmax(1), "q and a"),
    ],
    "fixmatch": [
        (lambda z, s, W, b, tau: nll(s, W, b, z, tau).sum() / mask(z, W, b, tau).sum().clamp(min=1), None),
        (lambda z, s, W, b, tau: nll(s, W, b, s, tau).mean(), None),
        (lambda z, s, W, b, tau: F.cross_entropy(s @ W.T + b, (z @ W.T + b).argmax(1)), None),
        (lambda z, s, W, b, tau: nll(s, W.detach(), b, z, tau).mean(), "gradient of W"),
        (lambda z, s, W, b, tau: nll(s, W, b, z, tau).mean().item(), "gradient of z_strong"),
        (lambda z, s, W, b, tau: nll(s, W, b, z, tau), "(16,)"),
    ],
    "feature_pull": [
        (lambda W, p, q: p @ W - W[q], None),
        (lambda W, p, q: W[q], None),
        (lambda W, p, q: (W[q] - p @ W) / len(q), None),
        (lambda W, p, q: (W[q] - p @ W).sum(0), "(3,)"),
    ],
    "centre_noise": [
        (lambda z, y, q, C: (F.one_hot(q, C) - F.one_hot(y, C)).float().T @ z / len(z), None),
        (lambda z, y, q, C: (F.one_hot(y, C) - F.one_hot(q, C)).float().T @ z, None),
        (lambda z, y, q, C: z.T @ (F.one_hot(y, C) - F.one_hot(q, C)).float() / len(z), None),
        (lambda z, y, q, C: (F.one_hot(y, C) - F.one_hot(q, C)).T @ z / len(z), "RuntimeError"),
    ],
    "alignment": [
        (lambda a, b: a @ b, None),
        (lambda a, b: (a @ b) / (b @ b), None),
        (lambda a, b: (a @ b) / (a.norm() * b.norm()), None),
        (lambda a, b: -F.cosine_similarity(a, b, dim=0), "the alignment"),
    ],
    "fooling_noise": [
        (lambda p, y, rate: y, "0 of 200"),
        (lambda p, y, rate: corrupt(p, y, rate, p.amax(1).argsort()), "τ ="),
        (lambda p, y, rate: corrupt(p, y, rate, torch.arange(len(y))), "τ ="),
        (lambda p, y, rate: corrupt(p, y, rate, p.amax(1).argsort(descending=True)) + 5, "0 to 4"),
        (lambda p, y, rate: F.one_hot(y), "(200,)"),
    ],
    "grad_relu": [
        (lambda z, s, W, b, tau: nll(s, W, b, z, tau).mean(), None),
        (lambda z, s, W, b, tau: nll(s.detach(), W, b, z, tau).mean(), None),
        (lambda z, s, W, b, tau: nll(s, W.detach(), b, z, tau, W, b).mean(), None),
        (lambda z, s, W, b, tau: nll(s, W.detach(), b.detach(), z, tau, W, b).sum(), "the loss"),
    ],
    "gated": [
        (lambda u, s: u - (u @ s) / (s @ s + 1e-20) * s, None),
        (lambda u, s: u - min((u @ s) / (s @ s), torch.tensor(0.0)) * s, None),
        (lambda u, s: u.clamp(min=0), None),
        (lambda u, s: torch.zeros_like(u) if u @ s < 0 else u, None),
    ],
    "averaged": [
        (lambda A, W, t, m: m * A + (1 - m) * W, None),
        (lambda A, W, t, m: min(m, (1 + t) / (10 + t)) * W + (1 - min(m, (1 + t) / (10 + t))) * A, None),
        (lambda A, W, t, m: max(m, (1 + t) / (10 + t)) * A + (1 - max(m, (1 + t) / (10 + t))) * W, None),
        (lambda A, W, t, m: None, "None"),
    ],
    "layermatch_loss": [
        (lambda z, s, W, b, A, c, tau: nll(s, A.detach(), c.detach(), z, tau, A, c).mean(), None),
        (lambda z, s, W, b, A, c, tau: nll(s, W.detach(), b.detach(), z, tau, W, b).mean(), None),
        (lambda z, s, W, b, A, c, tau: nll(s, A, c, z, tau, W, b).mean(), None),
        (lambda z, s, W, b, A, c, tau: nll(s, A.detach(), c.detach(), z, tau, W, b).sum(), "L_z"),
    ],
    "times_seen": [
        (lambda steps, batch, samples: steps * batch, None),
        (lambda steps, batch, samples: steps * batch // samples, None),
        (lambda steps, batch, samples: steps / samples, None),
    ],
    "neighbours_agree": [
        (lambda z, y, k: (y[torch.cdist(z, z).argsort(1)[:, :k]] == y[:, None]).double().mean(1), None),
        (lambda z, y, k: (y[torch.cdist(z, z).argsort(1)[:, -k:]] == y[:, None]).double().mean(1), None),
        (lambda z, y, k: (y[torch.cdist(z, z).argsort(1)[:, 1 : k + 1]] == y[:, None]).sum(1), None),
        (lambda z, y, k: float((y[torch.cdist(z, z).argsort(1)[:, 1 : k + 1]] == y[:, None]).float().mean()), None),
    ],
    "neighbours_kept": [
        (lambda z, m, k: (near(z, k) == near(m, k)).float().mean(), None),
        (lambda z, m, k: kept(z, m, k, first=0) / (k * len(z)), None),
        (lambda z, m, k: kept(z, m, k), None),
        (lambda z, m, k: kept(z, m, k) / len(z), None),
    ],
    "sign_flip": [
        (lambda d: (ways(d) >= d.sum() - 1e-6).mean(), None),
        (lambda d: (abs(ways(d)) > abs(d.sum()) + 1e-6).mean(), None),
        (lambda d: int((abs(ways(d)) >= abs(d.sum()) - 1e-6).sum()), None),
        (lambda d: 0.05, "0.05"),
    ],
    "holm": [
        (lambda p: [min(1, x * len(p)) for x in p], None),
        (lambda p: sorted(TASKS["holm"].right(p)), None),
        (lambda p: [min(1, x * (len(p) - sorted(p).index(x))) for x in p], None),
        (lambda p: p, "entry"),
    ],
}  # fmt: skip


def mask(z, W, b, tau):
    return (z @ W.T + b).detach().softmax(1).amax(1) >= tau


def nll(s, V, v, z, tau, W=None, b=None):
    """a_i CE against V, v with labels and mask from z and W, b (or V, v)."""
    W, b = (V, v) if W is None else (W, b)
    labels = (z @ W.T + b).detach().argmax(1)
    return mask(z, W, b, tau) * F.cross_entropy(s @ V.T + v, labels, reduction="none")


def corrupt(p, y, rate, order):
    q, C = y.clone(), p.shape[1]
    q[order[: round(rate * len(y))]] = (y[order[: round(rate * len(y))]] + 1) % C
    return q


def near(z, k, first=1):
    return torch.cdist(z, z).argsort(1)[:, first : k + first]


def kept(z, m, k, first=1):
    return sum(len(set(a.tolist()) & set(b.tolist())) for a, b in zip(near(z, k, first), near(m, k, first)))


def ways(d):
    return np.array([np.dot(s, d) for s in itertools.product((-1, 1), repeat=len(d))])


def test_every_notebook_has_two_exercises_and_the_long_runs_one():
    assert SOLUTIONS == sorted(p.stem for p in (ROOT / "notebooks").glob("0[1-8]*.ipynb"))
    counts = {notebook: len(editions.exercises(notebook)) for notebook in SOLUTIONS}
    assert counts.pop("06_layermatch_on_cifar10") >= 1 and min(counts.values()) >= 2
    assert {TASKS[name].notebook for name in TASKS} == set(SOLUTIONS) and set(TASKS) == set(SOURCES) == set(WRONG)
    assert all(TASKS[name].notebook == nb for nb in SOLUTIONS for name in editions.exercises(nb))


@pytest.mark.parametrize("name", SOLUTIONS)
def test_the_student_edition_is_made_from_the_solutions(name):
    path = ROOT / "notebooks" / f"{name}.ipynb"
    committed, made = nbformat.read(path, 4), nbformat.read(path, 4)
    editions.fill(made, name)
    assert made == committed, "run `python benchmarks/notebooks.py read`"
    student = "\n".join(c.source for c in committed.cells)
    for exercise, (_, code) in editions.exercises(name).items():
        answer = code.split("# your code\n")[1].strip()
        assert answer not in student and f'{exercise} = check("{exercise}")' in student
    editions.fill(made, name, solved=True)
    assert "return ..." not in "\n".join(c.source for c in made.cells)


@pytest.mark.parametrize("damage", ["no check", "prose between", "no task", "twice"])
def test_an_exercise_without_its_three_cells_is_named(damage):
    notebook = nbformat.read(ROOT / "notebooks" / "01_pseudo_labels.ipynb", 4)
    cells = notebook.cells
    (k,) = [k for k, c in enumerate(cells) if c.source.startswith("def fixmatch(")]
    if damage == "no check":
        cells[k + 1].source = "fixmatch"
    elif damage == "prose between":
        cells.insert(k + 1, nbformat.v4.new_markdown_cell("Think first."))
    elif damage == "no task":
        del cells[k - 1]
    else:
        cells.append(cells[k])
    with pytest.raises(InputError, match="fixmatch needs three cells of notebook 01_pseudo_labels"):
        editions.fill(notebook, "01_pseudo_labels")


@pytest.mark.parametrize("name", SOURCES)
def test_the_solution_is_right_and_the_empty_exercise_not_attempted(name):
    for seed in range(5):
        assert review(name, defined(name, SOURCES[name]), seed).outcome == "right", seed
        assert review(name, TASKS[name].right, seed).outcome == "right"
    blank = review(name, defined(name, editions.blank(SOURCES[name])))
    assert blank.outcome == "blank" and f'hint("{name}")' in blank.text
    assert review(name, None).outcome == "blank"


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_answer_learns_what_is_wrong(name):
    assert len(WRONG[name]) >= 3
    for answer, named in WRONG[name]:
        for seed in range(3):
            found = review(name, answer, seed)
            known = found.text.startswith(tuple(TASKS[name].mistakes))
            assert found.outcome == "wrong" and known == (named is None) and (named or "") in found.text, found


@pytest.mark.parametrize("name", TASKS)
def test_every_known_mistake_is_recognised(name):
    for text, mistake in TASKS[name].mistakes.items():
        for seed in range(5):
            assert review(name, mistake, seed).text.startswith(text), seed


def test_other_ways_to_be_right():
    numpy = lambda p, tau: (p.numpy().argmax(1), (p.numpy().max(1) >= np.float32(tau)).astype(int))
    assert review("labels_and_mask", numpy).outcome == "right"
    loop = lambda g_u, g_s: g_u if g_u @ g_s >= 0 or not g_s.any() else g_u - (g_u @ g_s) / (g_s @ g_s) * g_s
    assert review("gated", loop).outcome == "right"
    assert review("holm", lambda p: torch.tensor(TASKS["holm"].right(p))).outcome == "right"
    evenly = lambda p, y, rate: corrupt(p, y, rate, p.amax(1).argsort(descending=True))
    assert review("fooling_noise", lambda *a: evenly(*a).tolist()).outcome == "right"

    def by_library(z_weak, z_strong, W, b, tau):
        classifier = torch.nn.Linear(W.shape[1], len(W))
        del classifier.weight, classifier.bias
        classifier.weight, classifier.bias = W, b
        return fixmatch_loss(z_weak, z_strong, classifier, threshold=tau).loss

    assert review("fixmatch", by_library).outcome == "right"
    assert review("times_seen", lambda steps, batch, samples: [steps * batch / samples]).outcome == "right"


# Right in another form than the library's; the cells below must get the form they rely on.
OTHER_FORMS = {
    "labels_and_mask": lambda p, tau: [p.argmax(1).tolist(), (p.max(1).values >= tau).tolist()],
    "times_seen": lambda steps, batch, samples: [steps * batch / samples],
    "neighbours_agree": lambda *a: TASKS["neighbours_agree"].right(*a).numpy(),
    "fooling_noise": lambda *a: TASKS["fooling_noise"].right(*a).tolist(),
    "gated": lambda *a: TASKS["gated"].right(*a).numpy(),
    "holm": lambda p: np.array(TASKS["holm"].right(p)),
    "alignment": lambda *a: float(TASKS["alignment"].right(*a)),
    "fixmatch": lambda *a: TASKS["fixmatch"].right(*a).reshape(1),
    "neighbours_kept": functools.partial(lambda *a: TASKS["neighbours_kept"].right(*a).numpy()),
}


@pytest.mark.parametrize("name", OTHER_FORMS)
def test_a_right_answer_is_returned_in_the_librarys_form(name, monkeypatch, capsys):
    monkeypatch.setitem(globals(), name, OTHER_FORMS[name])
    got = check(name)
    assert capsys.readouterr().out.startswith("✓")
    arguments = draw(name, TASKS[name], 7)[0]
    result, right = (f(*arguments) for f in (got, TASKS[name].right))
    pairs = zip(result, right) if isinstance(right, tuple) else [(result, right)]
    assert all(type(a) is type(b) and (not isinstance(b, torch.Tensor) or a.shape == b.shape) for a, b in pairs)


@pytest.mark.parametrize(
    "name, answer, words",
    [
        ("fixmatch", lambda *a: (loss := TASKS["fixmatch"].right(*a), loss.backward())[0], "backward()"),
        ("times_seen", lambda steps, batch, samples: 10**9999, "int"),
        ("labels_and_mask", lambda p, tau: (p.argmax(1).softmax(0), p), "NotImplementedError"),
        ("neighbours_agree", lambda *a: TASKS["neighbours_agree"].right(*a)[:, None], "(30, 1)"),
    ],
)
def test_an_odd_answer_learns_what_is_wrong_too(name, answer, words):
    found = review(name, answer)
    assert found.outcome == "wrong" and words in found.text, found


def test_the_library_agrees_with_its_own_exercises():
    """What counts as right is what the library does in training and probe."""
    g = torch.Generator().manual_seed(0)
    z_weak, z_strong = torch.randn(2, 40, 6, generator=g)
    classifier = torch.nn.Linear(6, 5)
    torch.nn.init.normal_(classifier.weight, std=2.0, generator=g)
    centers = AvgClustering(classifier, momentum=0.9)
    torch.nn.init.normal_(classifier.weight, std=2.0, generator=g)
    W, b = classifier.weight, classifier.bias
    block = pseudo_label_loss(z_weak, z_strong, classifier, threshold=0.6)
    assert torch.allclose(block.loss, TASKS["grad_relu"].right(z_weak, z_strong, W, b, 0.6))
    pulled = pseudo_label_loss(z_weak, z_strong, classifier, threshold=0.6, centers=centers)
    right = TASKS["layermatch_loss"].right(z_weak, z_strong, W, b, centers.weight, centers.bias, 0.6)
    assert torch.allclose(pulled.loss, right)
    before = centers.weight.clone()
    centers.update(classifier)
    assert torch.allclose(centers.weight, TASKS["averaged"].right(before, W, 0, 0.9))


def test_the_theory_agrees_with_its_exercises():
    g = torch.Generator().manual_seed(0)
    z, W, y = torch.randn(40, 6, generator=g), 2 * torch.randn(5, 6, generator=g), torch.arange(40) % 5
    p = (z @ W.T).softmax(dim=1)
    q, mask, _ = pseudo_label(z @ W.T, 0.6)
    assert all(map(torch.equal, (q, mask), TASKS["labels_and_mask"].right(p, 0.6)))
    assert torch.allclose(-len(z) * theory.feature_gradient(W, p, q), TASKS["feature_pull"].right(W, p, q), atol=1e-5)
    noise = theory.split_classifier_gradient(z, p, q, y)[1]
    assert torch.allclose(noise, TASKS["centre_noise"].right(z, y, q, 5), atol=1e-5)


def test_check_returns_what_works(capsys):
    namespace = {"check": check, "F": F}

    def run(code):
        try:
            exec(code, namespace)
        except SyntaxError:
            pass
        exec('times_seen = check("times_seen")', namespace)
        return capsys.readouterr().out

    assert run("").startswith("○") and namespace["times_seen"](10, 2, 4) == 5.0
    wrong = run("times_seen = lambda steps, batch, samples: 0.0").splitlines()
    assert wrong[0].startswith("✗") and namespace["times_seen"](10, 2, 4) == 5.0
    again = run("").splitlines()  # the cell has not been run since: the same verdict, and one line more that says so
    assert again[0].startswith("✗") and len(again) == len(wrong) + 1
    right = run("times_seen = lambda steps, batch, samples: steps * batch / samples").splitlines()
    assert right[0].startswith("✓") and len(right) == 1
    stale = run("def times_seen(steps, batch, samples: return 3").splitlines()  # a syntax error: the previous version remains
    assert stale[0].startswith("✓") and len(stale) == 2


def test_the_printed_command_gives_the_same_inputs_again(capsys):
    namespace = {"check": check}
    exec('holm = lambda p: p\nholm = check("holm", seed=7)', namespace)
    first = capsys.readouterr().out
    assert 'check("holm", seed=7)' in first
    exec('check("holm", seed=7)', namespace)
    assert capsys.readouterr().out.splitlines()[0] == first.splitlines()[0]


def test_a_function_that_changes_its_arguments():
    def fooling_noise(p, y, rate):
        sure = p.amax(dim=1).argsort(descending=True)[: round(rate * len(y))]
        y[sure] = (y[sure] + 1) % p.shape[1]
        return y

    def gated(u, s):
        u -= min((u @ s) / (s @ s), 0.0) * s if s.any() else 0
        return u

    def holm(p):
        p.sort()
        return TASKS["holm"].right(p)

    for answer in (fooling_noise, gated, holm):
        found = review(answer.__name__, answer)
        assert found.outcome == "wrong" and "clone()" in found.text


def test_a_right_value_without_any_way_back():
    def grad_relu(z_weak, z_strong, W, b, tau):
        W.requires_grad_(False)
        b.requires_grad_(False)
        return nll(z_strong, W, b, z_weak.detach(), tau).mean()

    assert review("grad_relu", grad_relu).outcome == "right"


@pytest.mark.parametrize("p_value", [
    lambda d: np.mean([abs(np.mean(np.array(s) * d)) >= abs(np.mean(d)) for s in itertools.product((-1, 1), repeat=len(d))]),
    lambda d: (abs(np.array(list(itertools.product((-1, 1), repeat=len(d)))) @ d) >= abs(d.sum())).mean(),
    lambda d: sum(abs(m) >= abs(d.sum()) for m in ways(d)) / 2 ** len(d),
])  # fmt: skip
def test_a_p_value_without_a_tolerance_is_right(p_value):
    for seed in range(20):
        assert review("sign_flip", p_value, seed).outcome == "right"


junk = st.one_of(
    st.none(), st.text(max_size=5), st.integers(), st.floats(), st.booleans(), st.just(...),
    st.lists(st.floats(), max_size=3), st.tuples(st.just(...), st.integers()), st.just(torch.empty(0)),
    st.just(torch.full((3, 2), torch.nan)), st.just({}), st.just(torch.full((200,), torch.inf)), st.just(1j),
    st.just([10**400]), st.just((torch.ones(2), "x")), st.just(object()),
)  # fmt: skip


@settings(deadline=None)
@given(name=st.sampled_from(sorted(TASKS)), value=junk)
def test_whatever_an_answer_returns_the_check_survives(name, value):
    found = review(name, lambda *arguments: value)
    assert found.outcome == "blank" if value is ... else found.outcome in ("wrong", "blank")


@pytest.mark.parametrize("error", [ZeroDivisionError("x"), RecursionError(), AssertionError("z"), KeyError(1), SystemExit(1)])
def test_an_error_is_shown_not_raised(error):
    def holm(p):
        raise error

    found = review("holm", holm)
    assert found.outcome == "wrong" and type(error).__name__ in found.text and "line" in found.text
    assert review("holm", lambda: 1).outcome == "wrong", "the wrong number of arguments"
    assert review("holm", 3).outcome == "wrong", "not a function"


def test_a_todo_is_not_an_attempt():
    def holm(p):
        raise NotImplementedError

    assert review("holm", holm).outcome == "blank"


@pytest.mark.parametrize("name", TASKS)
def test_hints_go_from_a_nudge_to_the_solution(name, capsys):
    hints = TASKS[name].hints
    assert len(hints) >= 2
    for k in range(1, len(hints) + 1):
        hint(name, k)
        shown = capsys.readouterr().out
        assert hints[k - 1] in shown and (f"solved/{TASKS[name].notebook}.ipynb" in shown) == (k == len(hints))
        assert (f'hint("{name}", {k + 1})' in shown) == (k < len(hints))
    hint(name, 9)
    assert hints[0] not in (out := capsys.readouterr().out) and str(len(hints)) in out


def test_an_unknown_exercise_is_named():
    with pytest.raises(InputError, match="'holms' is unknown.*Did you mean 'holm'"):
        check("holms")
