"""The method on one screen is the method that trains: the same weights, bit for bit."""

import copy

import pytest
import torch

from layermatch_lite import TrainConfig, load_data, train_steps
from layermatch_lite.core import minimal
from layermatch_lite.data.batches import draw_batch
from layermatch_lite.data.views import Views

METHODS = {
    "fixmatch": minimal.FixMatch,
    "grad_relu": minimal.GradReLU,
    "avg_clustering": minimal.AvgClustering,
    "layermatch": minimal.LayerMatch,
}


@pytest.mark.parametrize("dataset", ["mnist1d", "digits"])
@pytest.mark.parametrize("name", METHODS)
def test_a_hundred_steps_give_the_weights_of_train(name, dataset):
    config = TrainConfig(dataset=dataset, num_labels=10, method=name, steps=100, device="cpu", threshold=0.5)
    data = load_data(dataset, 10)
    steps = train_steps(config, data)
    run = next(steps)
    model = copy.deepcopy(run.model)
    generators = {k: torch.Generator().set_state(g.get_state()) for k, g in run.generators.items()}
    batches = (draw_batch(data, Views(data), config, generators) for _ in range(config.steps))
    minimal.fit(model, METHODS[name](model.classifier, config.threshold), batches, config.steps, config.lr)
    before = copy.deepcopy(run.model)
    for run in steps:  # noqa: B007  to the end
        pass
    assert run.history[-1]["mask_rate"] > 0.1, "pseudo-labels must have taught something"
    for (key, ours), theirs, start in zip(model.named_parameters(), run.model.parameters(), before.parameters()):
        assert torch.equal(ours, theirs), key
        assert not torch.equal(ours, start), key
