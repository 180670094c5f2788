"""Your own images: say how many objects they show and how large those are, the rest follows.

    python -m experiments.overlap --config=configs/own.py --config.data.path=pictures/ \
        --config.objects.count=2 --config.objects.size="(20,30)"

What follows, and why, a run prints (`experiments/run/choices.py`). What is open here can be set.
"""

from ml_collections import ConfigDict
from ml_collections.config_dict import placeholder

from configs import base, presets
from configs.fields import fields

# Section -> fields that follow from the images and from what is said of their objects.
OPEN = {
    "data": ("test_size",),
    "model": (
        *("max_objects", "count", "window", "scale_prior", "count_gap_weight", "channels"),
        *("background", "background_code", "compositing", "overlap", "likelihood", "sigma"),
    ),
    "constraints": ("counts", "c_min", "c_max", "epsilon", "side", "visible"),
    "train": ("batch_size", "epochs", "count_mix_until"),
}


def get_config(argument: str = "asr") -> ConfigDict:
    """argument: METHOD, one of asr, air, pprior."""
    config = fields()
    for section, names in OPEN.items():
        for field in names:
            config[section][field] = placeholder(type(config[section][field]))
    config.objects = ConfigDict()
    config.objects.size = ()  # (smallest, largest) side of an object in pixels; must be said
    # How many an image shows: one of the next three.
    config.objects.count = placeholder(int)  # the same number in every image
    config.objects.counts = ()  # the possible numbers, such as (1, 3) or (3, 4, 5, 6)
    config.objects.at_most = placeholder(int)  # 5, if none of the three is said
    config.objects.overlap = False  # whether their boxes may overlap
    config.objects.sharp = False  # whether they have sharp outlines, at which boxes are to end
    # Those that do not apply are left out.
    base.allow(config, *base.TOLERANCES)
    config.constraints.prior_tolerances = ConfigDict(base.PRIOR_TOLERANCES)
    config.name = "own"
    return presets.apply(config, argument, {})
