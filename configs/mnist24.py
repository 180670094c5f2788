"""Multi-MNIST-24: scenes of 2 or 4 digits of 20 pixels on a 50 x 50 canvas (Table 1).

    python -m experiments.number --config=configs/mnist24.py

Measured with all of MNIST on one CPU core each (6 to 23 minutes for 12 epochs; two at a time on two
cores), on the 2,000 test scenes:

    argument                          seed   nELBO    ACC     SE    mean IoU
    asr                                 0    366.5   0.997   34.2    0.812
    asr                                 1    368.1   0.995   34.3    0.810
    asr                                 2    368.6   0.991   33.8    0.800
    asr   --config.model.max_steps=6    0    365.1   0.997   32.7    0.811
    air                                 0    458.3   0.537   37.2    0.654
    air,known                           0    383.2   0.500   35.6    0.599
    pprior                              0    387.2   0.000   37.2    0.453

    paper: not yet run; what else is: RESULTS.md
"""

from ml_collections import ConfigDict

from configs import number


def get_config(argument: str = "asr") -> ConfigDict:
    """argument: METHOD[,known|quick|paper], METHOD one of asr, air, pprior; known goes with air."""
    return number.config("mnist24", (2, 4), argument, number.mnist)
