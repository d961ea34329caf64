"""The exercises accept every right answer, name what is off in a wrong one, and never stop a notebook."""

import functools
import importlib.util
import itertools
import math
import subprocess
import sys
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
from layermatch_lite.course import check, exercises, hint
from layermatch_lite.course.tasks import TASKS
from layermatch_lite.variants.known_errors import benefit_under_noise

ROOT = Path(__file__).parents[1]
spec = importlib.util.spec_from_file_location("make", ROOT / "solutions" / "make.py")
make = importlib.util.module_from_spec(spec)
spec.loader.exec_module(make)

SOLUTIONS = sorted(path.stem for path in (ROOT / "solutions").glob("[0-9]*.py"))
SOURCES = {name: code for notebook in SOLUTIONS for name, (_, code) in make.exercises(notebook).items()}


def review(name, answer, seed=0):
    return exercises.look_at(name, TASKS[name], answer, seed)


def defined(name, code):
    """The function of a cell, run with the imports that its notebook has."""
    namespace = {"torch": torch, "F": F, "math": math, "itertools": itertools, "np": np}
    exec(code, namespace)
    return namespace[name]


# Independent of the mistakes in tasks.py: what students write, and words that the answer must contain.
WRONG = {
    "labels_and_mask": [
        (lambda p, tau: (p.argmax(1), p.max(1).values > tau), "≥, not >"),
        (lambda p, tau: (p.max(1).values >= tau, p.argmax(1)), "changed places"),
        (lambda p, tau: (p.argmax(dim=0), p.max(dim=0).values >= tau), "not of a column"),
        (lambda p, tau: (p.max(1).values, p.argmax(1)), "q, entry 0"),
        (lambda p, tau: p.argmax(1), "q and a are expected"),
    ],
    "fixmatch": [
        (lambda z, s, W, b, tau: nll(s, W, b, z, tau).sum() / mask(z, W, b, tau).sum().clamp(min=1), "divides by all N"),
        (lambda z, s, W, b, tau: nll(s, W, b, s, tau).mean(), "labels come from the strong view"),
        (lambda z, s, W, b, tau: F.cross_entropy(s @ W.T + b, (z @ W.T + b).argmax(1)), "where is the mask"),
        (lambda z, s, W, b, tau: nll(s, W.detach(), b, z, tau).mean(), "no gradient of W arrives"),
        (lambda z, s, W, b, tau: nll(s, W, b, z, tau).mean().item(), "no gradient of z_strong arrives"),
        (lambda z, s, W, b, tau: nll(s, W, b, z, tau), "shape (16,)"),
    ],
    "feature_pull": [
        (lambda W, p, q: p @ W - W[q], "points the wrong way"),
        (lambda W, p, q: W[q], "expects, the sum of p_c w_c"),
        (lambda W, p, q: (W[q] - p @ W) / len(q), "divided by N"),
        (lambda W, p, q: (W[q] - p @ W).sum(0), "shape (3,)"),
    ],
    "centre_noise": [
        (lambda z, y, q, C: (F.one_hot(q, C) - F.one_hot(y, C)).float().T @ z / len(z), "sign is turned"),
        (lambda z, y, q, C: (F.one_hot(y, C) - F.one_hot(q, C)).float().T @ z, "1/N"),
        (lambda z, y, q, C: z.T @ (F.one_hot(y, C) - F.one_hot(q, C)).float() / len(z), "rows and columns"),
        (lambda z, y, q, C: (F.one_hot(y, C) - F.one_hot(q, C)).T @ z / len(z), "raises RuntimeError"),
    ],
    "benefit": [
        (lambda a, b: (a @ b) / (a.norm() * b.norm() + 1e-12), "that is the cosine"),
        (lambda a, b: (a @ b) / (b @ b), "NaN"),
        (lambda a, b: (a @ b) / (a @ a), "not by that of g_pseudo"),
        (lambda a, b: 0.0 if not b.any() else (a @ b) / b.norm(), "not by |g_true|"),
    ],
    "benefit_when_undecided": [
        (lambda r, C: 1 - r, "It does harm, too"),
        (lambda r, C: 1 - 2 * r, "right for two classes"),
        (lambda r, C: 1 - r * (C - 1) / C, "never to the true one"),
        (lambda r, C: -1, "where"),
    ],
    "fooling_noise": [
        (lambda p, y, rate: y, "0 of 200 labels are wrong"),
        (lambda p, y, rate: spoil(p, y, rate, p.amax(1).argsort()), "threshold sees through it"),
        (lambda p, y, rate: spoil(p, y, rate, torch.arange(len(y))), "threshold sees through it"),
        (lambda p, y, rate: spoil(p, y, rate, p.amax(1).argsort(descending=True)) + 5, "whole numbers from 0 to 4"),
        (lambda p, y, rate: F.one_hot(y), "one label for each sample"),
    ],
    "blocked": [
        (lambda z, W, b, q, a: (a * F.cross_entropy(z @ W.T + b, q, reduction="none")).mean(), "plain FixMatch"),
        (lambda z, W, b, q, a: (a * F.cross_entropy(z.detach() @ W.T + b, q, reduction="none")).mean(), "not z"),
        (lambda z, W, b, q, a: (a * F.cross_entropy(z @ W.detach().T + b, q, reduction="none")).mean(), "b still learns"),
        (lambda z, W, b, q, a: F.cross_entropy(z @ W.detach().T + b.detach(), q), "the loss is"),
    ],
    "gated": [
        (lambda u, s: u - (u @ s) / (s @ s + 1e-20) * s, "agrees with g_s is taken away"),
        (lambda u, s: u - min((u @ s) / (s @ s), torch.tensor(0.0)) * s, "NaN"),
        (lambda u, s: u.clamp(min=0), "ReLU on every entry"),
        (lambda u, s: torch.zeros_like(u) if u @ s < 0 else u, "only its component"),
    ],
    "averaged": [
        (lambda A, W, t, m: m * A + (1 - m) * W, "warm-up is missing"),
        (lambda A, W, t, m: min(m, (1 + t) / (10 + t)) * W + (1 - min(m, (1 + t) / (10 + t))) * A, "changed places"),
        (lambda A, W, t, m: max(m, (1 + t) / (10 + t)) * A + (1 - max(m, (1 + t) / (10 + t))) * W, "min, not max"),
        (lambda A, W, t, m: None, "nothing (None)"),
    ],
    "avg_clustering_loss": [
        (lambda z, s, W, b, A, c, tau: nll(s, A.detach(), c.detach(), z, tau, A, c).mean(), "those lag"),
        (lambda z, s, W, b, A, c, tau: nll(s, W.detach(), b.detach(), z, tau, W, b).mean(), "averaged ones, W_bar"),
        (lambda z, s, W, b, A, c, tau: nll(s, A, c, z, tau, W, b).mean(), "averages are not trained"),
        (lambda z, s, W, b, A, c, tau: nll(s, A.detach(), c.detach(), z, tau, W, b).sum(), "L_z is"),
    ],
    "times_seen": [
        (lambda steps, batch, samples: steps * batch, "each of them is one of"),
        (lambda steps, batch, samples: steps * batch // samples, "rounded down"),
        (lambda steps, batch, samples: steps / samples, "the batch is missing"),
    ],
    "learning_rate": [
        (lambda k, K, lr: 0.5 * lr * (1 + math.cos(math.pi * k / K)), "half a cosine"),
        (lambda k, K, lr: lr * math.cos(7 * math.pi / 16 * k * K), "K stands below"),
        (lambda k, K, lr: lr * math.cos(7 / 16 * k / K), "π is missing"),
        (lambda k, K, lr: lr, "the learning rate is 0.03"),
    ],
    "neighbours_agree": [
        (lambda z, y, k: (y[torch.cdist(z, z).argsort(1)[:, :k]] == y[:, None]).double().mean(1), "its own neighbour"),
        (lambda z, y, k: (y[torch.cdist(z, z).argsort(1)[:, -k:]] == y[:, None]).double().mean(1), "farthest"),
        (lambda z, y, k: (y[torch.cdist(z, z).argsort(1)[:, 1 : k + 1]] == y[:, None]).sum(1), "divide by k"),
        (lambda z, y, k: float((y[torch.cdist(z, z).argsort(1)[:, 1 : k + 1]] == y[:, None]).float().mean()), "one number"),
    ],
    "neighbours_kept": [
        (lambda z, m, k: (near(z, k) == near(m, k)).float().mean(), "place by place"),
        (lambda z, m, k: kept(z, m, k, first=0) / (k * len(z)), "its own neighbour"),
        (lambda z, m, k: kept(z, m, k), "of each of N samples"),
        (lambda z, m, k: kept(z, m, k) / len(z), "divide by k as well"),
    ],
    "sign_flip": [
        (lambda d: (ways(d) >= d.sum() - 1e-6).mean(), "up or down"),
        (lambda d: (abs(ways(d)) > abs(d.sum()) + 1e-6).mean(), "≥, not >"),
        (lambda d: int((abs(ways(d)) >= abs(d.sum()) - 1e-6).sum()), "divide by the number of ways"),
        (lambda d: 0.05, "p is 0.05"),
    ],
    "holm": [
        (lambda p: [min(1, x * len(p)) for x in p], "Bonferroni"),
        (lambda p: sorted(TASKS["holm"].right(p)), "in order of size"),
        (lambda p: [min(1, x * (len(p) - sorted(p).index(x))) for x in p], "running maximum"),
        (lambda p: p, "the corrected p-values, entry"),
    ],
}  # fmt: skip


def mask(z, W, b, tau):
    return (z @ W.T + b).detach().softmax(1).amax(1) >= tau


def nll(s, V, v, z, tau, W=None, b=None):
    """a_i CE against V, v with labels and mask from z and W, b (or V, v)."""
    W, b = (V, v) if W is None else (W, b)
    labels = (z @ W.T + b).detach().argmax(1)
    return mask(z, W, b, tau) * F.cross_entropy(s @ V.T + v, labels, reduction="none")


def spoil(p, y, rate, order):
    q, C = y.clone(), p.shape[1]
    q[order[: round(rate * len(y))]] = (y[order[: round(rate * len(y))]] + 1) % C
    return q


def near(z, k, first=1):
    return torch.cdist(z, z).argsort(1)[:, first : k + first]


def kept(z, m, k, first=1):
    return sum(len(set(a.tolist()) & set(b.tolist())) for a, b in zip(near(z, k, first), near(m, k, first)))


def ways(d):
    return np.array([np.dot(s, d) for s in itertools.product((-1, 1), repeat=len(d))])


def test_every_notebook_has_two_exercises_or_more():
    assert SOLUTIONS == sorted(p.stem for p in (ROOT / "notebooks").glob("0[1-8]*.ipynb"))
    assert all(len(make.exercises(notebook)) >= 2 for notebook in SOLUTIONS)
    assert {TASKS[name].notebook for name in TASKS} == set(SOLUTIONS) and set(TASKS) == set(SOURCES) == set(WRONG)
    assert all(TASKS[name].notebook == nb for nb in SOLUTIONS for name in make.exercises(nb))


@pytest.mark.parametrize("name", SOLUTIONS)
def test_the_student_edition_is_made_from_the_solutions(name):
    path = ROOT / "notebooks" / f"{name}.ipynb"
    committed, made = nbformat.read(path, 4), nbformat.read(path, 4)
    make.fill(made, name)
    assert [c.source for c in made.cells] == [c.source for c in committed.cells], "run `make exercises`"
    assert [c.metadata.get("tags") for c in made.cells] == [c.metadata.get("tags") for c in committed.cells]
    student = "\n".join(c.source for c in committed.cells)
    for exercise, (_, code) in make.exercises(name).items():
        answer = code.split("# your code\n")[1].strip()
        assert answer not in student and f'{exercise} = check("{exercise}")' in student
    solved = nbformat.read(path, 4)
    make.fill(solved, name, solved=True)
    make.without_results(solved)
    assert "return ..." not in "\n".join(c.source for c in solved.cells)
    assert not any(c.get("outputs") for c in solved.cells) and "widgets" not in solved.metadata


def test_copies_for_a_class_never_replace_somebodys_work(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(make, "HERE", tmp_path / "solutions")
    for solution in (ROOT / "solutions").glob("*.py"):
        (tmp_path / "solutions").mkdir(exist_ok=True)
        (tmp_path / "solutions" / solution.name).write_bytes(solution.read_bytes())
    make.copy("solved")
    made = sorted(p.name for p in (tmp_path / "solved").iterdir())
    assert made == sorted(p.name for p in (ROOT / "notebooks").glob("*.ipynb"))
    (tmp_path / "solved" / made[1]).write_text("my work")
    make.copy("solved")
    assert (tmp_path / "solved" / made[1]).read_text() == "my work" and "kept" in capsys.readouterr().out


def test_an_edition_that_is_none():
    done = subprocess.run([sys.executable, ROOT / "solutions" / "make.py", "handouts"], capture_output=True, text=True)
    assert done.returncode == 1 and "'handouts' is no edition; choose handout or solved" in done.stderr


@pytest.mark.parametrize("name", SOURCES)
def test_the_solution_is_right_and_the_empty_exercise_not_attempted(name):
    for seed in range(5):
        assert review(name, defined(name, SOURCES[name]), seed).outcome == "right", seed
        assert review(name, TASKS[name].right, seed).outcome == "right"
    blank = review(name, defined(name, make.blank(SOURCES[name])))
    assert blank.outcome == "blank" and f'hint("{name}")' in blank.text
    assert review(name, None).outcome == "blank"


@pytest.mark.parametrize("name", WRONG)
def test_wrong_answers_are_told_what_is_off(name):
    assert len(WRONG[name]) >= 3
    for answer, words in WRONG[name]:
        for seed in range(3):
            found = review(name, answer, seed)
            assert found.outcome == "wrong" and words in found.text, found


@pytest.mark.parametrize("name", TASKS)
def test_every_known_mistake_is_called_by_its_name(name):
    for told, mistake in TASKS[name].mistakes.items():
        for seed in range(5):
            assert review(name, mistake, seed).text.startswith(told), seed


def test_other_ways_to_be_right():
    numpy = lambda p, tau: (p.numpy().argmax(1), (p.numpy().max(1) >= np.float32(tau)).astype(int))
    assert review("labels_and_mask", numpy).outcome == "right"
    loop = lambda g_u, g_s: g_u if g_u @ g_s >= 0 or not g_s.any() else g_u - (g_u @ g_s) / (g_s @ g_s) * g_s
    assert review("gated", loop).outcome == "right"
    assert review("holm", lambda p: torch.tensor(TASKS["holm"].right(p))).outcome == "right"
    evenly = lambda p, y, rate: spoil(p, y, rate, p.amax(1).argsort(descending=True))
    assert review("fooling_noise", lambda *a: evenly(*a).tolist()).outcome == "right"

    def by_library(z_weak, z_strong, W, b, tau):
        classifier = torch.nn.Linear(W.shape[1], len(W))
        del classifier.weight, classifier.bias
        classifier.weight, classifier.bias = W, b
        return fixmatch_loss(z_weak, z_strong, classifier, threshold=tau).loss

    assert review("fixmatch", by_library).outcome == "right"
    assert review("times_seen", lambda steps, batch, samples: [steps * batch / samples]).outcome == "right"


# Right in another form than the library's: cells below must get what they count on.
OTHER_FORMS = {
    "labels_and_mask": lambda p, tau: [p.argmax(1).tolist(), (p.max(1).values >= tau).tolist()],
    "times_seen": lambda steps, batch, samples: [steps * batch / samples],
    "neighbours_agree": lambda *a: TASKS["neighbours_agree"].right(*a).numpy(),
    "fooling_noise": lambda *a: TASKS["fooling_noise"].right(*a).tolist(),
    "gated": lambda *a: TASKS["gated"].right(*a).numpy(),
    "holm": lambda p: np.array(TASKS["holm"].right(p)),
    "benefit": lambda *a: float(TASKS["benefit"].right(*a)),
    "fixmatch": lambda *a: TASKS["fixmatch"].right(*a).reshape(1),
    "learning_rate": functools.partial(lambda k, K, lr: torch.tensor(TASKS["learning_rate"].right(k, K, lr))),
}


@pytest.mark.parametrize("name", OTHER_FORMS)
def test_a_right_answer_of_another_form_is_given_the_librarys(name, monkeypatch, capsys):
    monkeypatch.setitem(globals(), name, OTHER_FORMS[name])
    got = check(name)
    assert capsys.readouterr().out.startswith("✓ Right")
    arguments = exercises.draw(name, TASKS[name], 7)[0]
    result, right = (f(*arguments) for f in (got, TASKS[name].right))
    pairs = zip(result, right) if isinstance(right, tuple) else [(result, right)]
    assert all(type(a) is type(b) and (not isinstance(b, torch.Tensor) or a.shape == b.shape) for a, b in pairs)


@pytest.mark.parametrize(
    "name, answer, words",
    [
        ("fixmatch", lambda *a: (loss := TASKS["fixmatch"].right(*a), loss.backward())[0], "no backward() inside"),
        ("times_seen", lambda steps, batch, samples: 10**9999, "cannot be printed"),
        ("labels_and_mask", lambda p, tau: (p.argmax(1).softmax(0), p), "raises NotImplementedError"),
        ("neighbours_agree", lambda *a: TASKS["neighbours_agree"].right(*a)[:, None], "has the shape (30, 1)"),
    ],
)
def test_odd_answers_are_told_what_is_off_too(name, answer, words):
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
    assert torch.allclose(block.loss, TASKS["blocked"].right(z_strong, W, b, block.labels, block.mask))
    pulled = pseudo_label_loss(z_weak, z_strong, classifier, threshold=0.6, centers=centers)
    right = TASKS["avg_clustering_loss"].right(z_weak, z_strong, W, b, centers.weight, centers.bias, 0.6)
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


def test_the_benefit_of_an_undecided_network_is_the_probes():
    """1 - rC/(C-1) in the mean over the noise, in every layer: measured with the probe on a network that says nearly 1/C."""
    g = torch.Generator().manual_seed(0)
    C, N = 4, 4000
    model = torch.nn.Sequential(torch.nn.Linear(6, 16), torch.nn.ReLU(), torch.nn.Linear(16, C))
    for w in model.parameters():
        torch.nn.init.normal_(w, std=1e-3 if len(w) == C else 1.0, generator=g)
    x = torch.randn(N, 6, generator=g)
    y = x[:, :C].argmax(dim=1)
    rates = (0.3, 0.75, 0.9)
    table = benefit_under_noise(
        model, x[:20], y[:20], x, x, y, threshold=0.0, rates=rates, kinds=("uniform",), generator=g
    )
    assert table["layer"].nunique() == 2
    for _, of_layer in table.groupby("layer"):
        found = of_layer.set_index("rate")["benefit"]
        assert [found[r] for r in rates] == pytest.approx([TASKS["benefit_when_undecided"].right(r, C) for r in rates], abs=0.1)


def test_check_goes_on_with_what_works(capsys):
    namespace = {"check": check, "F": F}

    def run(code):
        try:
            exec(code, namespace)
        except SyntaxError:
            pass
        exec('times_seen = check("times_seen")', namespace)
        return capsys.readouterr().out

    assert "○ Not attempted yet" in run("") and namespace["times_seen"](10, 2, 4) == 5.0
    wrong = run("times_seen = lambda steps, batch, samples: 0.0")
    assert "✗ Not yet" in wrong and "times_seen is the library's version here" in wrong
    assert namespace["times_seen"](10, 2, 4) == 5.0
    again = run("")  # the cell has not been run since: the same verdict, and that it is unchanged
    assert "✗ Not yet" in again and "has not been run since" in again
    right = run("times_seen = lambda steps, batch, samples: steps * batch / samples")
    assert "✓ Right" in right and "since" not in right
    stale = run("def times_seen(steps, batch, samples: return 3")  # a syntax error: the version before is still there
    assert "✓ Right" in stale and "it failed" in stale


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
        assert "it changes its arguments" in review(answer.__name__, answer).text


def test_a_right_value_without_any_way_back():
    def blocked(z, W, b, q, a):
        W.requires_grad_(False)
        b.requires_grad_(False)
        return (a * F.cross_entropy(z @ W.T + b, q, reduction="none")).mean()

    assert review("blocked", blocked).outcome == "right"


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
    assert review("holm", 3).text.startswith("holm is 3; it should be a function")


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
        told = capsys.readouterr().out
        assert f"Hint {k} of {len(hints)}" in told
        assert ((f"solutions/{TASKS[name].notebook}.py") in told) == (k == len(hints))
    hint(name, 9)
    assert f"There are {len(hints)} hints" in capsys.readouterr().out


def test_an_unknown_exercise_is_named():
    with pytest.raises(InputError, match="'holms' is unknown.*Did you mean 'holm'"):
        check("holms")
