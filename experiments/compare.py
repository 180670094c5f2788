"""Finished runs side by side: their rows as a table, reconstructions and samples as figures.

python -m experiments.compare runs/mnist3-air-seed0 runs/mnist3-asr-seed0 --out=compare.png
"""

from absl import flags

from data_gen.paths import FIGURES, output
from experiments.results import figures
from experiments.run import finished, printed
from experiments.run.main import main

OUT = flags.DEFINE_string(
    "out", "compare.png", "The figure of reconstructions; that of samples is called *-samples."
)
SCENES = flags.DEFINE_integer(
    "scenes", 10, "How many scenes a row of the figures shows.", lower_bound=1
)
REFINE = flags.DEFINE_integer(
    "refine", 0, "Steps of refinement: each run gets a second row then; 0: none.", lower_bound=0
)


def compare(arguments: list[str]) -> None:
    out = output(OUT.value, "--out", FIGURES)
    beside = out.with_stem(f"{out.stem}-samples")
    folders = finished.folders(arguments[1:])
    loaded = {label: finished.load(folder) for label, folder in folders.items()}
    explained, sampled = figures.side_by_side(loaded, SCENES.value, REFINE.value)
    print(printed.columns({label: printed.cells(one.final) for label, one in loaded.items()}))
    explained.savefig(out, dpi=160)
    sampled.savefig(beside, dpi=160)
    print(f"Wrote {out} and {beside}")


if __name__ == "__main__":
    main(compare, words=True)
