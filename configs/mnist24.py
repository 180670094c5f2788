"""Multi-MNIST-24: scenes of 2 or 4 digits of 20 pixels on a 50 x 50 canvas (Table 1).

    python -m experiments.number --config=configs/mnist24.py

Measured with all of MNIST on one CPU core each (9 to 19 minutes for 12 epochs; two at a time on two
cores), on the 2,000 test scenes:

    argument                          seed   nELBO    ACC     SE    mean IoU
    asr                                 0    366.5   0.997   34.2    0.812
    asr                                 1    368.1   0.993   34.6    0.809
    asr                                 2    368.0   0.993   34.5    0.804
    asr   --config.model.max_steps=6    0    365.1   0.997   32.7    0.811
    air                                 0    511.0   0.000   38.2    0.427
    air,known                           0    388.6   0.500   37.1    0.598
    pprior                              0    378.2   0.000   36.5    0.482

    paper: not yet run; what else is: RESULTS.md
"""

from ml_collections import ConfigDict

from configs import number


def get_config(argument: str = "asr") -> ConfigDict:
    """argument: METHOD[,known|quick|paper], METHOD one of asr, air, pprior; known goes with air."""
    return number.config("mnist24", (2, 4), argument, number.mnist)
