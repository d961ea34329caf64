"""Your own network, in the form in which the package's models are trained."""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn

from ..errors import InputError
from ..models import in_mode, last_layer


class Adapted(nn.Module):
    """Any network that ends in an `nn.Linear`, in the form of `models`: what that layer reads are the features."""

    def __init__(self, network: nn.Module, x: Tensor):
        """network: is copied. x: a batch to try it with."""
        super().__init__()
        _, last, _ = last_layer(network, x)
        place = next(name for name, module in network.named_modules() if module is last)
        self.body, self.classifier = copy.deepcopy(network), copy.deepcopy(last)
        if place:
            parent, _, name = place.rpartition(".")
            setattr(self.body.get_submodule(parent), name, nn.Identity())
        else:
            self.body = nn.Identity()  # the network is that layer

    def features(self, x: Tensor) -> Tensor:
        return self.body(x)

    def forward(self, x: Tensor) -> Tensor:
        return self.classifier(self.features(x))


def own_network(network: nn.Module, sample_shape: tuple[int, ...], num_classes: int) -> nn.Module:
    """A copy of your own network in the form of `models`, adapted where it has another, and tried with two random samples.

    Raises InputError where it is not a module, takes no such samples, has no linear last layer or another number of outputs.
    """
    if not isinstance(network, nn.Module):
        raise InputError(f"model={network!r} is not a network; give an nn.Module (built-in ones are named by config.model).")
    if not any(p.requires_grad for p in network.parameters()):
        raise InputError(f"{type(network).__name__} has no trainable parameter; unfreeze a layer with .requires_grad_(True).")
    device = next((p.device for p in network.parameters()), "cpu")
    x = torch.randn(2, *sample_shape, generator=torch.Generator().manual_seed(0)).to(device)
    name = type(network).__name__
    try:
        with torch.no_grad(), in_mode(network, train=False):  # nothing is learned from the trial
            output = network(x)
            ours = copy.deepcopy(network)
            if not _in_our_form(ours, x, output):
                ours = Adapted(network, x)
            fits = torch.allclose(ours(x), output, atol=1e-5)
    except InputError:
        raise
    except Exception as error:  # whatever a network raises for samples that it cannot take
        raise InputError(
            f"{name} cannot be used: with samples of shape {tuple(sample_shape)} it raises {type(error).__name__}: {error}"
        ) from error
    if not fits:
        raise InputError(f"{name} uses its last layer twice, or changes what comes out of it; return its output as it is.")
    if ours.classifier.out_features != num_classes:
        raise InputError(f"{name} has {ours.classifier.out_features} outputs, and the data have {num_classes} classes.")
    return ours


def _in_our_form(network: nn.Module, x: Tensor, output: Tensor) -> bool:
    """Does it have `features` and `classifier`, and do they give its output?"""
    features, classifier = getattr(network, "features", None), getattr(network, "classifier", None)
    if not callable(features) or not isinstance(classifier, nn.Linear):
        return False
    z = features(x)
    fits = isinstance(z, Tensor) and z.shape == (len(x), classifier.in_features)
    return fits and torch.allclose(classifier(z), output, atol=1e-5)
