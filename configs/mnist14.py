"""Multi-MNIST-14: scenes of 1 or 4 digits of 20 pixels on a 50 x 50 canvas (Table 1).

    python -m experiments.number --config=configs/mnist14.py

Measured with all of MNIST on one CPU core each (6 to 23 minutes for 12 epochs; two at a time on two
cores), on the 2,000 test scenes:

    argument                          seed   nELBO    ACC     SE    mean IoU
    asr                                 0    304.5   1.000   27.2    0.834
    asr                                 1    305.5   1.000   28.4    0.826
    asr                                 2    304.6   1.000   27.6    0.829
    air                                 0    379.5   0.500   31.0    0.743
    air,known                           0    383.8   0.000   35.0    0.427
    pprior                              0    335.7   0.000   42.0    0.497

    paper: not yet run; what else is: RESULTS.md
"""

from ml_collections import ConfigDict

from configs import number


def get_config(argument: str = "asr") -> ConfigDict:
    """argument: METHOD[,known|quick|paper], METHOD one of asr, air, pprior; known goes with air."""
    return number.config("mnist14", (1, 4), argument, number.mnist)
