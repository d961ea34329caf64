"""Makes mnist1d.npz: the MNIST-1D data set (Greydanus and Kobak 2024), as its authors' package generates it.

    python layermatch_lite/data/embedded/make_mnist1d.py

Needs the PyPI package `mnist1d` (Apache 2.0; a development dependency). It is never imported by the library, because it
seeds the global random state; nothing is downloaded here.
"""

from pathlib import Path

import numpy as np

PATH = Path(__file__).with_name("mnist1d.npz")


def make() -> dict[str, np.ndarray]:
    """Arrays x (4000, 40), y (4000,), x_test (1000, 40), y_test (1000,): float32 signals, uint8 labels."""
    from mnist1d.data import get_dataset_args, make_dataset

    made = make_dataset(get_dataset_args())
    return {
        "x": made["x"].astype(np.float32),
        "y": made["y"].astype(np.uint8),
        "x_test": made["x_test"].astype(np.float32),
        "y_test": made["y_test"].astype(np.uint8),
    }


if __name__ == "__main__":
    np.savez_compressed(PATH, **make())
    print(f"{PATH}: {PATH.stat().st_size / 1e3:.0f} kB")
