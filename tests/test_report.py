"""What notebooks read out of studies and runs: the right rows, seeds in order, signs as they are."""

import pandas as pd
import pytest

from layermatch_lite import InputError, load_study
from layermatch_lite.course.toys import chase
from layermatch_lite.runs.compare import Outcome
from layermatch_lite.runs.config import TrainConfig
from layermatch_lite.studies import known_noise, report, stats


def study():
    """Two settings, two rows, three seeds; the runs stand in another order than the seeds."""
    runs = []
    for setting, lower in (("b, 10 labels", 0.2), ("a, 40 labels", 0.0)):
        for seed in (2, 0, 1):
            for row, accuracy in (("fixmatch", 0.5), ("layermatch", 0.6 + 0.01 * seed)):
                runs.append({"setting": setting, "row": row, "seed": seed, "accuracy": accuracy - lower})
    plan = {s: dict.fromkeys(("fixmatch", "layermatch")) for s in ("a, 40 labels", "b, 10 labels")}
    return {"name": "small", "seeds": [0, 1, 2], "plan": plan, "runs": runs}


def test_gains_are_leads_by_seed():
    found = report.gains(study(), ["layermatch"], over="fixmatch")
    assert {d: {k: list(at) for k, at in rows.items()} for d, rows in found.items()} == {
        "a": {"LayerMatch": ["40"]}, "b": {"LayerMatch": ["10"]}
    }  # fmt: skip
    assert found["a"]["LayerMatch"]["40"] == pytest.approx([0.10, 0.11, 0.12])
    assert report.gains(study(), ["fixmatch"], over="layermatch")["b"]["FixMatch"]["10"] == pytest.approx([-0.10, -0.11, -0.12])
    with pytest.raises(InputError, match="layermtch"):
        report.gains(study(), ["layermtch"], over="fixmatch")


def test_means_keep_the_nesting():
    found = {"a": {"x": [1, 3]}, "b": [{"k": 1, "j": 0}, {"k": 2, "j": 0}]}
    assert report.means(found) == {"a": {"x": 2}, "b": {"k": 1.5, "j": 0}}


def test_late_is_the_last_quarter_without_empty_masks():
    rows = [
        {"layer": layer, "seed": seed, "step": step, "alignment": sign * (seed + 1.0 if step == 100 else 99.0), "empty": False}
        for layer, sign in (("conv 1", 1), ("classifier", -1))
        for seed in (0, 1)
        for step in (50, 100)
    ]
    rows.append({"layer": "conv 1", "seed": 0, "step": 100, "alignment": -50.0, "empty": True})
    found = report.late_by_layer(pd.DataFrame(rows), {"FixMatch": "alignment"})
    assert found == {"FixMatch": {"conv 1": [1.0, 2.0], "classifier": [-1.0, -2.0]}}


def test_a_mean_accuracy_is_that_of_its_method():
    config = lambda method, seed: TrainConfig(dataset="two_moons", num_labels=4, method=method, seed=seed)
    outcome = lambda method, seed, accuracy: Outcome(config(method, seed), [{"accuracy": accuracy}], 1.0, {})
    runs = [outcome("fixmatch", 0, 0.5), outcome("supervised", 0, 0.1), outcome("fixmatch", 1, 0.7)]
    assert report.mean_accuracy(runs) == {"FixMatch": pytest.approx(0.6), "Supervised": pytest.approx(0.1)}


def test_a_readout_is_that_of_its_networks():
    known = load_study("known_noise")
    by_hand = [r["readout"]["kmeans"] for r in known["runs"] if (r["setting"], r["row"]) == ("pair 0.6", "all")]
    assert known_noise.mean_readout(known, "pair", 0.6, "kmeans") == pytest.approx(sum(by_hand) / len(known["seeds"]))
    with pytest.raises(InputError, match="0.5"):
        known_noise.mean_readout(known, "pair", 0.5)


def test_a_verdict_counts_what_is_decided():
    found = ((0.3, 0.01), (-0.1, 0.01), (-0.2, 0.01), (0.4, 0.9))
    compared = [stats.Comparison("s", "a", "b", [mean] * 3, p, p) for mean, p in found]
    (row,) = stats.verdict_table({"It helps": compared}).to_dict("records")
    assert row == {"mean lead": "+10.0 points", "decided for": "1 of 4", "against": "2 of 4"}


def test_features_that_chase_a_lagging_average_keep_its_errors():
    with pytest.raises(InputError, match="labels_from"):
        chase("w", m=0.99)
    ends = {judge: (t := chase(judge, m=0.99))[t["step"] == 150]["pseudo_label_accuracy"].mean() for judge in ("W", "W_bar")}
    assert ends["W"] > ends["W_bar"] + 0.3
    assert len(t) == 20 * 151 and t["mask_rate"].between(0, 1).all()
