"""Objects that do not overlap (section 6.2 of the paper, Table 2).

    python -m experiments.overlap --config=configs/mnist3.py
    python -m experiments.overlap --config=configs/mnist3.py:air,quick --workdir=runs/try

From here the data flows (command.py): config -> scenes -> posterior -> prior and rendering ->
objective -> training steps -> loop -> metrics -> figures.
"""

from absl import app

from experiments import command

if __name__ == "__main__":
    app.run(lambda _: command.run())
