"""The number of objects (section 6.1 of the paper, Table 1).

    python -m experiments.number --config=configs/mnist13.py
    python -m experiments.number --config=configs/mnist24.py:air,known --config.seeds=3

The same command as `experiments.overlap`, under the name of the paper's section: the configuration
decides. Here it has several possible counts, which the model infers.
"""

from experiments.run.experiment import experiment
from experiments.run.main import main

if __name__ == "__main__":
    main(experiment)
