"""Rebuilds data/mnist_subset.npz from MNIST's idx files; see data/README.md.

python -m data_gen.make_subset --mnist_dir=DIR
"""

import numpy as np
from absl import flags

from data_gen import command_line, sources
from data_gen.paths import user_path

FLAGS = flags.FLAGS
PER_CLASS = {"train": 700, "test": 100}


def choose(labels: np.ndarray, per_class: int) -> np.ndarray:
    """Returns the sorted positions of `per_class` digits of every class: int32 [10 * per_class]."""
    rng = np.random.Generator(np.random.PCG64(0))
    ranks = rng.random(len(labels))
    chosen = []
    for digit in range(10):
        members = np.flatnonzero(labels == digit)
        chosen.append(members[np.argsort(ranks[members], kind="stable")[:per_class]])
    return np.sort(np.concatenate(chosen)).astype(np.int32)


def main(_) -> None:
    folder, arrays = user_path(FLAGS.mnist_dir, "--mnist_dir"), {}
    for split, per_class in PER_CLASS.items():
        digits = sources.idx_digits(split, folder)
        in_file_order = np.argsort(digits.index)
        images, labels = digits.images[in_file_order], digits.labels[in_file_order]
        index = choose(labels, per_class)
        arrays |= {
            f"{split}_images": images[index],
            f"{split}_labels": labels[index],
            f"{split}_index": index,
        }
    np.savez_compressed(sources.SUBSET, **arrays)


if __name__ == "__main__":
    flags.DEFINE_string("mnist_dir", None, "Folder of MNIST's four idx files.", required=True)
    command_line.run(main)
