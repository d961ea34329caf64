"""The statistics against known answers."""

import itertools
import math

import numpy as np
import pytest
import scipy.stats
from hypothesis import given, settings
from hypothesis import strategies as st

from layermatch_lite import InputError
from layermatch_lite.studies import stats

numbers = st.lists(st.floats(-1, 1).map(lambda v: round(v, 4)), min_size=2, max_size=12)


def test_few_values_get_students_t():
    low, high = stats.interval([1.0, 2.0, 4.0])
    assert (low, high) == pytest.approx(scipy.stats.t.interval(0.95, 2, np.mean([1, 2, 4]), scipy.stats.sem([1, 2, 4])))


def test_more_values_get_the_widened_percentile_bootstrap():
    """Against SciPy's percentile interval at the level that Hesterberg's formula says."""
    x = np.random.default_rng(0).exponential(size=10)
    alpha = scipy.stats.norm.cdf(-math.sqrt(10 / 9) * scipy.stats.t.ppf(0.975, 9))
    reference = scipy.stats.bootstrap(
        (x,), np.mean, method="percentile", confidence_level=1 - 2 * alpha, n_resamples=100_000
    )
    width = reference.confidence_interval.high - reference.confidence_interval.low
    assert stats.interval(x) == pytest.approx(tuple(reference.confidence_interval), abs=0.03 * width)
    assert stats.interval(x) == stats.interval(list(x)), "the same every time"


def test_the_interval_covers_about_as_often_as_it_says_and_more_often_than_the_plain_one():
    rng = np.random.default_rng(1)
    covered, plain = [], []
    for _ in range(300):
        x = rng.normal(size=10)
        low, high = stats.interval(x)
        covered.append(low <= 0 <= high)
        low, high = np.quantile(rng.choice(x, (2000, 10)).mean(axis=1), [0.025, 0.975])
        plain.append(low <= 0 <= high)
    assert 0.9 <= np.mean(covered) <= 0.98 and np.mean(plain) < np.mean(covered)


@given(numbers, st.floats(-5, 5), st.floats(0.1, 10))
@settings(max_examples=40, deadline=None)
def test_an_interval_moves_and_stretches_with_its_values(values, shift, scale):
    low, high = stats.interval(values)
    assert low - 1e-9 <= np.mean(values) <= high + 1e-9
    moved = stats.interval([shift + scale * v for v in values])
    assert moved == pytest.approx((shift + scale * low, shift + scale * high), abs=1e-6)


@given(numbers)
@settings(max_examples=40, deadline=None)
def test_a_higher_level_is_never_narrower(values):
    narrow, wide = stats.interval(values, 0.8), stats.interval(values, 0.99)
    assert wide[0] <= narrow[0] and narrow[1] <= wide[1]


def test_the_p_value_counts_sign_flips():
    d = [0.3, -0.1, 0.2, 0.25]
    flips = [abs(sum(s * v for s, v in zip(signs, d))) for signs in itertools.product((-1, 1), repeat=4)]
    assert stats.p_value(d) == sum(f >= abs(sum(d)) - 1e-12 for f in flips) / 16
    assert stats.p_value([0.1] * 10) == 2 / 1024 and stats.p_value([0.0] * 5) == 1
    shares = [k / 360 for k in (5, -2, 3, 0, 7, -4, 1, 1)]  # of a test set, many sums of which are equal
    exact = stats.p_value([round(360 * s) for s in shares])
    assert stats.p_value([float(f"{0.8 + s:.6g}") - 0.8 for s in shares]) == exact, "recorded to six digits"
    for scale in (1e-9, 1e9):
        assert stats.p_value([scale * s for s in shares]) == exact
        assert stats.p_value([scale * v for v in d]) == stats.p_value(d)


@pytest.mark.parametrize("n", [8, 17])
def test_the_p_value_against_scipy(n):
    d = np.random.default_rng(n).normal(0.4, 1, n)
    every = dict(n_resamples=2**17, batch=2**16)  # each of the 2^17 signs once: an exact value, no draw
    reference = scipy.stats.permutation_test((d,), np.mean, permutation_type="samples", vectorized=True, **every)
    assert stats.p_value(d) == pytest.approx(reference.pvalue, abs=0.005)


def test_under_no_effect_small_p_values_are_as_rare_as_they_say():
    rng = np.random.default_rng(3)
    p = np.array([stats.p_value(rng.normal(size=8)) for _ in range(500)])
    assert (p <= 0.05).mean() < 0.08


def test_holms_correction_by_hand():
    assert stats.holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert stats.holm([0.6, 0.9]) == [1.0, 1.0] and stats.holm([]) == []


@given(st.lists(st.floats(0, 1), max_size=12))
def test_a_corrected_p_value_is_never_smaller_and_keeps_the_order(p):
    corrected = stats.holm(p)
    assert all(a <= b <= 1 for a, b in zip(p, corrected))
    assert all(corrected[i] <= corrected[j] for i in range(len(p)) for j in range(len(p)) if p[i] < p[j])


def test_the_effect_size():
    d = [0.1, 0.3, 0.2, 0.4, 0.0]
    assert stats.effect_size(d) == pytest.approx(np.mean(d) / np.std(d, ddof=1) * (1 - 3 / 15))
    assert stats.effect_size([0.0, 0.0]) == 0 and stats.effect_size([0.5, 0.5]) == math.inf


@pytest.mark.parametrize("function", [stats.interval, stats.effect_size, stats.p_value])
@pytest.mark.parametrize("values", [[], [0.1]])
def test_fewer_than_two_seeds_say_nothing(function, values):
    with pytest.raises(InputError, match=f"{len(values)} .*at least two seeds"):
        function(values)


def study(a, b, planned=(("s", "a", "b"),)):
    runs = [
        {
            "setting": "s",
            "row": row,
            "seed": k,
            "accuracy": v,
            "median_of_last_20": v,
            "part": {"x": v},
            "mask_rate": None,
        }
        for row, values in (("a", a), ("b", b))
        for k, v in enumerate(values)
    ]
    return {"name": "n", "question": "q?", "seeds": list(range(12)), "plan": {"s": {"a": {}, "b": {}}},
            "families": {"which?": [list(p) for p in planned]}, "runs": runs}  # fmt: skip


def test_differences_are_paired_by_seed():
    found = study([0.5, 0.6, 0.9], [0.4, 0.6])
    assert stats.differences(found, "s", "a", "b") == pytest.approx([0.1, 0.0])
    assert stats.values(found, "s", "a", "part/x") == {0: 0.5, 1: 0.6, 2: 0.9}
    assert stats.values(found, "s", "a", "mask_rate") == {}
    with pytest.raises(
        InputError, match=r"'a' and 'b' in 's' share fewer than two seeds \(\[0\]\).*study 'n'"
    ):
        stats.differences(study([0.5, 0.6], [0.4]), "s", "a", "b")


def test_a_family_is_corrected_for_its_number():
    a, b = [0.5 + 0.01 * k for k in range(8)], [0.4] * 8
    (alone,) = stats.family(study(a, b), "which?")
    assert alone.p == alone.corrected == 2 / 256 and alone.sign == 1
    found = study(a, b, [("s", "a", "b")] * 7)
    among = stats.family(found, "which?")
    assert {c.corrected for c in among} == {7 * 2 / 256} and among[0].sign == 0
    assert stats.outcome([alone]) == "above 0 in 1 of 1 (s)" and stats.outcome(among) == "undecided in 7 of 7"


def test_the_tables_say_what_was_found():
    found = study([0.5, 0.7], [0.4, 0.5])
    text = stats.tables(found)
    assert "| s | a − b | +0.150 " in text and "2 of 2" in text and "| a | 0.600 " in text
    planned, after = stats.comparison_table(found, "which?"), stats.panel_table({"p": {"s": [0.1, 0.2]}})
    shared = [column for column in planned if column != "difference"]
    assert planned[shared].to_numpy().tolist() == after[shared].to_numpy().tolist()


def test_layers_are_compared_seed_by_seed():
    """A seed in which one of the layers has no measurement is left out."""
    benefit = lambda b, a: {"benefit": b, "alignment": a}
    runs = [
        {"setting": "s", "row": "fixmatch", "seed": 0,
         "late_benefit": {"conv 1": benefit(0.5, 0.2), "classifier": benefit(0.25, 0.3)}},
        {"setting": "s", "row": "fixmatch", "seed": 1, "late_benefit": {"classifier": benefit(9, 9)}},
        {"setting": "s", "row": "fixmatch", "seed": 2},
    ]  # fmt: skip
    gaps = stats.layer_gaps(study([], []) | {"runs": runs})
    assert gaps == {"alignment": {"s": pytest.approx([0.1])}, "benefit": {"s": [-0.25]}}
