"""The machine: thread counts are restored; .npz files are read safely, and what is damaged is computed again."""

import numpy as np
import pytest
import torch

from layermatch_lite.system import cached_npz, read_npz, torch_settings


@pytest.mark.parametrize("n", [None, 1, 3])
def test_the_thread_count_is_restored(n):
    before = torch.get_num_threads()
    with pytest.raises(KeyError), torch_settings(n):
        assert torch.get_num_threads() == (n or before)
        torch.set_num_threads(before + 2)
        raise KeyError
    assert torch.get_num_threads() == before


class Trap:
    def __reduce__(self):
        return pytest.fail, ("the file's code was executed",)


@pytest.fixture
def whole(tmp_path):
    path = tmp_path / "whole.npz"
    np.savez_compressed(path, a=np.arange(1000), b=np.array("text"))
    return path


def damaged(whole):
    """{name: path} of files that are not whole archives of plain arrays."""
    content = whole.read_bytes()
    flipped = bytearray(content)
    flipped[60:70] = b"0123456789"
    files = {"empty": b"", "text": b"not an archive", "cut": content[:300], "flipped": bytes(flipped)}
    found = {name: whole.with_name(name) for name in files}
    for name, path in found.items():
        path.write_bytes(files[name])
    for name, save in (("pickle", np.savez), ("one array", np.save)):
        found[name] = whole.with_name(name)
        with open(found[name], "wb") as f:
            save(f, np.array([Trap()]) if name == "pickle" else np.arange(3))
    return found


def test_reading_gives_what_was_written_or_one_clear_error(whole):
    arrays = read_npz(whole)
    assert set(arrays) == {"a", "b"} and np.array_equal(arrays["a"], np.arange(1000)) and str(arrays["b"]) == "text"
    for path in damaged(whole).values():
        with pytest.raises(ValueError, match="damaged"):
            read_npz(path)
    for path in (whole.parent, whole.with_name("missing")):
        with pytest.raises(OSError):
            read_npz(path)


def test_a_cache_is_computed_once_and_again_where_it_does_not_hold(whole):
    calls = []

    def compute():
        calls.append(1)
        return {"a": np.arange(4)}

    check = lambda arrays: len(arrays["a"]) == 4
    new = whole.parent / "folder" / "new.npz"
    assert cached_npz(new, check) is None
    for _ in range(2):
        assert np.array_equal(cached_npz(new, check, compute)["a"], np.arange(4)) and len(calls) == 1
    assert np.array_equal(cached_npz(new, check)["a"], np.arange(4))
    np.savez(missing := whole.with_name("other.npz"), b=np.arange(4))
    stale = [whole, missing, *damaged(whole).values()]  # the first holds another number of values
    for k, path in enumerate(stale):
        assert cached_npz(path, check) is None
        assert len(cached_npz(path, check, compute)["a"]) == 4 and len(calls) == 2 + k
        assert cached_npz(path, check) is not None


def test_a_cache_that_cannot_be_written_still_gives_its_arrays(tmp_path, capsys):
    (tmp_path / "file").touch()
    arrays = cached_npz(tmp_path / "file" / "cache.npz", lambda arrays: True, lambda: {"a": np.arange(4)})
    assert len(arrays["a"]) == 4 and "could not be written" in capsys.readouterr().out
