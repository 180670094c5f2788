"""The number of objects (section 6.1 of the paper, Table 1).

    python -m experiments.number --config=configs/mnist13.py
    python -m experiments.number --config=configs/mnist24.py:air,known --config.seeds=3

As `experiments.overlap`, with scenes of one of two possible counts, which the model infers.
"""

from absl import app

from experiments import command

# Table 1: mean and standard deviation over 3 runs of 300 epochs.
COLUMNS = ("nelbo", "acc", "se", "miou")
TABLE = """
    mnist13 air     404.41 ± 4.58  | 0.81 ± 0.23 | 31.94 ± 4.68 | 0.61 ± 0.13
    mnist13 pprior  405.21 ± 1.17  | 0.48 ± 0.00 | 49.42 ± 0.24 | 0.43 ± 0.01
    mnist13 asr     360.20 ± 19.67 | 0.96 ± 0.00 | 28.84 ± 1.11 | 0.61 ± 0.00
    mnist14 air     543.44 ± 54.71 | 0.48 ± 0.03 | 52.77 ± 4.92 | 0.43 ± 0.07
    mnist14 pprior  519.06 ± 5.47  | 0.50 ± 0.00 | 68.72 ± 0.55 | 0.43 ± 0.00
    mnist14 asr     441.54 ± 30.97 | 0.96 ± 0.01 | 41.05 ± 7.11 | 0.55 ± 0.08
    mnist24 air     639.49 ± 23.13 | 0.55 ± 0.09 | 57.69 ± 4.88 | 0.46 ± 0.06
    mnist24 pprior  643.28 ± 8.67  | 0.00 ± 0.00 | 83.35 ± 0.44 | 0.10 ± 0.00
    mnist24 asr     495.73 ± 35.80 | 0.98 ± 0.01 | 48.54 ± 5.60 | 0.54 ± 0.08
"""
PAPER = {
    (name, method): dict(zip(COLUMNS, map(str.strip, values.split("|")), strict=True))
    for name, method, values in (line.split(None, 2) for line in TABLE.strip().splitlines())
}

if __name__ == "__main__":
    app.run(lambda _: command.run(PAPER))
