"""Multi-MNIST-13: scenes of 1 or 3 digits of 20 pixels on a 50 x 50 canvas (Table 1).

    python -m experiments.number --config=configs/mnist13.py

Measured with all of MNIST on one CPU core each (8 to 12 minutes for 12 epochs; two at a time on two
cores), on the 2,000 test scenes:

    argument                          seed   nELBO    ACC     SE    mean IoU
    asr                                 0    244.3   1.000   21.8    0.821
    asr                                 1    244.5   1.000   22.5    0.821
    asr                                 2    245.6   1.000   22.6    0.817
    asr   --config.estimator=concrete   0    247.1   1.000   22.8    0.824
    air                                 0    302.4   0.500   24.0    0.721
    air,known                           0    262.2   0.495   27.3    0.542
    pprior                              0    253.0   0.000   24.2    0.408
    asr   --config.model.max_steps=6    0    245.4   1.000   22.3    0.820

    asr   --config.train.epochs=1 --config.seeds=10: ACC 1.000 with 10 of 10 seeds, nELBO 407

    paper: not yet run; what else is: RESULTS.md
"""

from ml_collections import ConfigDict

from configs import number


def get_config(argument: str = "asr") -> ConfigDict:
    """argument: METHOD[,known|quick|paper], METHOD one of asr, air, pprior; known goes with air."""
    return number.config("mnist13", (1, 3), argument, number.mnist)
