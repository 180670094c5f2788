"""Multi-MNIST-14: scenes of 1 or 4 digits of 20 pixels on a 50 x 50 canvas (Table 1).

    python -m experiments.number --config=configs/mnist14.py

Measured with all of MNIST on one CPU core each (11 to 22 minutes for 12 epochs; two at a time on
two cores), on the 2,000 test scenes:

    argument                          seed   nELBO    ACC     SE    mean IoU
    asr                                 0    304.5   1.000   27.2    0.834
    asr                                 1    305.0   1.000   28.5    0.830
    asr                                 2    304.9   1.000   27.9    0.826
    air                                 0    381.8   0.500   31.7    0.750
    air,known                           0    378.8   0.000   30.8    0.428
    pprior                              0    315.2   0.500   32.4    0.740

    paper: not yet run; what else is: RESULTS.md
"""

from ml_collections import ConfigDict

from configs import number


def get_config(argument: str = "asr") -> ConfigDict:
    """argument: METHOD[,known|quick|paper], METHOD one of asr, air, pprior; known goes with air."""
    return number.config("mnist14", (1, 4), argument, number.mnist)
