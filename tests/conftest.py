import pytest
import torch


@pytest.fixture(autouse=True)
def own_cache(tmp_path_factory, monkeypatch):
    """No test reads or writes the user's cache."""
    monkeypatch.setenv("LAYERMATCH_CACHE", str(tmp_path_factory.mktemp("cache")))


@pytest.fixture
def g() -> torch.Generator:
    return torch.Generator().manual_seed(0)
