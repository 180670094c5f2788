"""The number of objects (section 6.1 of the paper, Table 1).

    python -m experiments.number --config=configs/mnist13.py
    python -m experiments.number --config=configs/mnist24.py:air,known --config.seeds=3

As `experiments.overlap`, with scenes of one of two possible counts, which the model infers.
"""

from absl import app

from experiments import command

if __name__ == "__main__":
    app.run(lambda _: command.run())
