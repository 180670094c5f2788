"""Objects that do not overlap (section 6.2 of the paper, Table 2).

    python -m experiments.overlap --config=configs/mnist3.py
    python -m experiments.overlap --config=configs/mnist3.py:air,quick --workdir=runs/try

From here the data flows: main (flags, errors) -> experiment (config -> Run -> scenes) -> seeds and
train (the loop) -> asr_jax.train_steps -> train_step -> elbo_with_penalty.
"""

from experiments.run.experiment import experiment
from experiments.run.main import main

if __name__ == "__main__":
    main(experiment)
