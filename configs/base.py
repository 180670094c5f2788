"""What every configuration shares: fields with defaults, methods and presets.

A config file's `get_config(argument)` gets what follows its name after a colon, a method and
presets in any order: `--config=configs/mnist3.py:air,quick`.
"""

import functools
import math
from collections.abc import Callable, Mapping, Sequence

from ml_collections import ConfigDict

METHODS = ("asr", "air", "pprior")


def base() -> ConfigDict:
    """Fields of every experiment."""
    config = ConfigDict()
    config.name = ""  # of the run; the default workdir is runs/<name>-seed<seed>
    config.method = "asr"
    config.seed = 0  # of parameters, order of the images, and noise
    config.seeds = 1  # how many runs: with config.seed, config.seed + 1, ...
    config.estimator = "marginal"  # of the ELBO over n: "marginal" (exact) or "concrete" (relaxed)

    config.data = ConfigDict()
    # Your own images: a folder of pictures, an .npz or an .npy; empty: the scenes described below.
    config.data.path = ""
    config.data.size = ()  # (height, width) that pictures are resized to; empty: they have one size
    config.data.colour = "auto"  # of your own images: "yes", "no", or "auto": as they are
    config.data.objects = "mnist"  # what they show: "mnist" or "dsprites"
    config.data.shapes = ("square", "ellipse", "heart")  # of dsprites
    config.data.digits_dir = ""  # folder of MNIST idx files; empty: ASR_MNIST_DIR, TFDS, embedded
    config.data.data_dir = ""  # cache of the scenes; empty: ASR_DATA_DIR, or ~/.cache/asr_jax
    config.data.canvas = 50  # side, pixels
    config.data.counts = (3,)  # how many objects a scene may have
    # "disjoint" or "columns" boxes, disjoint "pixels", or "occluded": in front of each other.
    config.data.layout = "disjoint"
    config.data.min_visible = 25  # pixels that are seen of each object that may be occluded
    config.data.scale = 0.6  # 1.0: MNIST's ink of 20 pixels, dSprites' largest sprites
    config.data.scales = (1.0,)  # of dsprites, times `scale`: each object has one of them
    config.data.colours = "white"  # of objects: "white" or "random", bright and saturated
    # "black", "grey" (a level an image), "colour" (one an image), "noise" (over all) or "grid".
    config.data.background = "black"
    config.data.contrast = 0.35  # least distance in RGB of an object from the background
    config.data.train_size = 20_000
    config.data.test_size = 1_000
    config.data.seed = 0
    # "replicated": all training scenes on every device; "sharded": divided over the devices.
    config.data.placement = "replicated"
    config.data.split = "test"  # "validation": hold out training scenes, and evaluate on those

    config.model = ConfigDict()  # fields of asr_jax.ModelConfig; the canvas comes from the data
    config.model.channels = 1
    config.model.background = "black"
    config.model.background_code = 8
    config.model.background_size = 8
    config.model.compositing = "sum"
    config.model.texture = 1
    config.model.max_objects = 3
    config.model.count = 3  # number of objects where it is known; -1: inferred
    config.model.window = 28
    config.model.appearance = 50
    config.model.lstm = 256
    config.model.hidden = (512, 256)
    config.model.activation = "silu"
    config.model.head = 64
    config.model.encoder = "patches"
    config.model.look = 1.8
    config.model.encoder_hidden = 0
    config.model.scale_glimpse = 0.0
    config.model.prior = "learned"
    config.model.place_prior = "gaussian"
    config.model.learned_scale = False
    config.model.scale_prior = (-1.0, 0.05)
    config.model.presence_prior = 0.0
    config.model.possible_counts = ()
    config.model.presence_bound = 0.0
    config.model.count_gap_weight = 0.0
    config.model.likelihood = "bernoulli"
    config.model.sigma = 0.3
    config.model.epsilon = 1e-3
    config.model.temperature = 0.1

    config.constraints = ConfigDict()
    config.constraints.counts = ()  # L, the possible numbers of objects; empty: no R_num
    config.constraints.c_min = 11.0  # smallest and largest side of an object, pixels
    config.constraints.c_max = 15.0
    config.constraints.epsilon = 3.0  # allowed difference of two sides, pixels
    config.constraints.side = 0.0  # of objects on average, pixels; 0: not used
    config.constraints.visible = 0.0  # pixels that are seen of an object at least; 0: not used
    config.constraints.tight = 0.0  # largest side that "tight" allows, pixels; 0: not used
    # "fixed": multipliers are `weights`, the paper's way; "dual": they follow the `tolerances`.
    # What is named there is trained with, the other constraints are only reported.
    config.constraints.multipliers = "fixed"
    config.constraints.largest = 1_000.0  # multiplier of "dual", nats per unit
    config.constraints.tolerances = ConfigDict()  # name -> its allowed mean, in its own unit
    config.constraints.prior_tolerances = ConfigDict()  # the same of the learned prior's places
    config.constraints.weights = ConfigDict()  # name -> multiplier
    config.constraints.prior_weights = ConfigDict()  # the same of the learned prior's places
    config.constraints.ramps = ConfigDict()  # name -> (start, end), fractions of the run

    config.optimizer = ConfigDict()  # fields of asr_jax.OptimizerConfig
    config.optimizer.learning_rate = 2e-3
    config.optimizer.schedule = "cosine"
    config.optimizer.warmup = 300
    config.optimizer.clip = 1000.0
    config.optimizer.weight_decay = 0.1
    config.optimizer.b1 = 0.9
    config.optimizer.b2 = 0.999

    config.train = ConfigDict()
    config.train.batch_size = 64
    config.train.epochs = 60
    # The geometric prior's log-odds go linearly from here to model.presence_prior, until this
    # fraction of the run; 0: they stay where they are.
    config.train.presence_prior_start = 9.2
    config.train.presence_prior_until = 0.0
    # The ELBO sees a mixture of q(n) and all counts alike, whose share goes linearly from 1 to 0
    # until this fraction of the run; 0: q(n) alone.
    config.train.count_mix_until = 0.0
    config.train.log_every = 50  # steps of one dispatch, and of one line of metrics.jsonl
    config.train.checkpoint_every = 2_000  # steps
    config.train.side_by_side = "auto"  # several seeds in one program: "yes", "no"; "no" on CPUs
    config.train.matmul_precision = ""  # "float32", "tensorfloat32", "bfloat16"; empty: JAX's own
    config.train.parallel = "auto"  # "pmap", "shard_map", or "auto"

    config.evaluate = ConfigDict()
    config.evaluate.iwae_samples = 100  # of the importance weighted bound of log p(x); 0: without
    config.evaluate.generated = 10_000  # scenes sampled from the prior and judged; 0: none
    config.evaluate.every = 1_000  # steps between looks at held-out scenes in training; 0: none
    config.evaluate.scenes = 200  # how many of them it looks at
    return config


def attention(config: ConfigDict) -> None:
    """A posterior that attends to places, and a learned prior that knows of earlier boxes."""
    config.model.encoder = "attention"
    config.model.place_prior = "relations"


# What is allowed on average, in nats (the first line), objects (`visible`) and pixels (the rest):
# the same for all data sets.
TOLERANCES = dict(
    **dict(possible=0.001, number=0.02, balance=0.02, counted=0.001),
    visible=0.01,
    **dict(F1=0.3, F2=0.05, F3=0.05, F4=0.05, F5=0.05, F6=0.05, F7=0.05, side=0.1),
)
# The same of the places that the prior would draw.
PRIOR_TOLERANCES = dict(F1=0.02, F2=0.005, F3=0.005, F4=0.005, F5=0.005)


def allow(config: ConfigDict, *names: str) -> None:
    """Trains with the constraints of these names, whose multipliers follow the tolerances."""
    config.constraints.multipliers = "dual"
    config.constraints.tolerances = ConfigDict({name: TOLERANCES[name] for name in names})


def balance_tolerance(counts: Sequence[int], batch_size: int) -> float:
    """What `balance` may be on average, nats, for so many possible counts.

    It sees a batch, whose counts are not balanced by chance: that alone costs (|L| - 1) / (2 B) on
    average. The tolerance is for two counts, and grows by what chance costs more of them.
    """
    return TOLERANCES["balance"] + (len(counts) - 2) / (2 * batch_size)


def overlap(name: str) -> ConfigDict:
    """Three objects with disjoint boxes, a count that is known, and F1..F7."""
    config = base()
    attention(config)
    config.name = name
    config.train.epochs = 20
    allow(config, *(f"F{i}" for i in range(1, 8)), "side")
    config.constraints.prior_tolerances = ConfigDict(PRIOR_TOLERANCES)
    return config


def fixed(config: ConfigDict, **weights: float) -> None:
    """Multipliers set by hand, without `side`, which they were not tried with."""
    config.constraints.multipliers = "fixed"
    config.constraints.side = 0.0
    config.constraints.weights = ConfigDict(weights)
    for field in ("tolerances", "prior_tolerances", "prior_weights", "ramps"):
        config.constraints[field] = ConfigDict()  # one each: what fills one is not in the others


def fixed_overlap(config: ConfigDict) -> None:
    """The paper's weights."""
    fixed(config, F1=1.0, F2=1.0, F3=1.0, F4=1.0, F5=1.0, F6=20.0, F7=10.0)


def price_places(config: ConfigDict, weight: float) -> None:
    """The same weight on the places that the prior would draw, for F1..F5."""
    config.constraints.prior_weights = ConfigDict(dict.fromkeys(PRIOR_TOLERANCES, weight))


def fixed_number(config: ConfigDict) -> None:
    """The paper's weights."""
    fixed(config, number=10.0, balance=100.0)


def tight(config: ConfigDict, side: float, weight: float, ramp: tuple[float, float]) -> None:
    """A price on every pixel of a side beyond `side`, which rises during the fractions `ramp`.

    A window that is larger than its object costs nothing and forgives a centre that is off, so
    boxes grow to what F6 allows. Small boxes from the start slow learning.
    """
    config.constraints.tight = side
    config.constraints.weights.tight = weight
    config.constraints.ramps.tight = ramp


def number(name: str, objects: str, counts: tuple[int, ...], argument: str) -> ConfigDict:
    """`inferred`, with what follows a config's name after a colon.

    That is METHOD[,PRESET], METHOD one of asr, air, pprior, PRESET one of known (for air), fixed,
    patches, paper, small, quick.
    """
    others = {"patches": patches_number, "paper": paper_number, "small": small}
    presets = others | COUNTED  # in this order: the last one is quick
    return apply(inferred(name, objects, counts), argument, presets)


def inferred(name: str, objects: str, counts: tuple[int, ...]) -> ConfigDict:
    """Objects at full size whose ink does not meet, as many as one of some counts, inferred.

    Args:
      name: of the experiment.
      objects: "mnist", 20 pixels on a canvas of 50, or "dsprites", 17 to 26 pixels on 64.
      counts: the possible numbers of objects.
    """
    config = base()
    attention(config)
    config.name = name
    config.data.objects = objects
    config.data.counts = config.constraints.counts = counts
    config.data.layout = "pixels"
    config.data.scale = 1.0
    config.data.train_size = 40_000
    config.data.test_size = 2_000
    config.model.count = -1
    config.model.max_objects = max(counts) + 1  # one more than needed: over-counting shows
    # AIR's prior over n, as annealed in the released code; no other method looks at it.
    config.model.presence_prior = -20.0
    config.train.presence_prior_start = 9.2
    config.train.presence_prior_until = 0.5
    # For every method: latents learn to explain an image with every n, and q(n) which is best.
    config.model.count_gap_weight = 1.0
    config.train.count_mix_until = 0.2
    config.train.epochs = 12
    allow(config, "possible", "number", "balance", "F6", "side")
    config.constraints.tolerances.balance = balance_tolerance(counts, config.train.batch_size)
    # What is known of sides is the same for every method: digits vary by 1.2 pixels, shapes by 3.
    # A prior that is wider lets boxes grow.
    if objects == "mnist":
        config.model.scale_prior = scale_prior(20, 50, 0.01)
        config.constraints.c_min, config.constraints.c_max = 17.0, 23.0
        config.constraints.side = 20.0
    else:
        config.data.canvas = 64
        config.model.scale_prior = scale_prior(22.2, 64, 0.05)
        config.constraints.c_min, config.constraints.c_max = 20.0, 25.0
        config.constraints.side = 22.2
    return config


def colour(config: ConfigDict, background: str) -> None:
    """Objects of random colours on a background, and a model that knows of both.

    Args:
      config: of `inferred`.
      background: of the scenes, "grey", "colour", "noise" or "grid".
    """
    config.data.colours = "random"
    config.data.background = background
    config.model.channels = 3
    config.model.background = "colour"
    config.model.compositing = "over"
    config.model.likelihood = "gaussian"
    config.model.sigma = 0.2  # at 0.3 an object of which little is seen does not pay
    # Higher prices on counts made q(n) swing when `side` still moved counts: not tried since.
    config.constraints.largest = 100.0
    # Three channels cost as much more: distances to training scenes, and samples.
    config.evaluate.iwae_samples = 20
    config.evaluate.generated = 2_000


def known(config: ConfigDict) -> None:
    """The stronger AIR: its prior over n is uniform over the possible counts."""
    if config.method != "air":
        raise ValueError(f"known is a prior for air, and {config.method} learns its: use air,known")
    config.model.possible_counts = config.data.counts


def patches_number(config: ConfigDict) -> None:
    """As `patches`."""
    fixed_number(config)
    patches(config)


def paper_number(config: ConfigDict) -> None:
    """As `paper`, with the released code's number of steps."""
    patches_number(config)
    paper(config)
    config.model.max_objects = 6


def small(config: ConfigDict) -> None:
    """Networks of the sizes that public AIR codes have, for a comparison of speed."""
    patches_number(config)
    config.model.hidden = (200,)
    config.model.encoder_hidden = 256


def quick(config: ConfigDict, train_size: int = 5_000, epochs: int = 12) -> None:
    """A minute or so, to see that everything works; the result is not a result."""
    config.data.train_size = train_size
    config.data.test_size = 200
    config.train.epochs = epochs
    config.evaluate.iwae_samples = 10
    config.evaluate.generated = 1_000
    config.evaluate.every = 200


# Presets of experiments whose counts are inferred.
COUNTED = {
    "known": known,
    "fixed": fixed_number,
    "quick": functools.partial(quick, train_size=4_000, epochs=8),
}


def scale_prior(side: float, canvas: int, variance: float) -> tuple[float, float]:
    """The prior over the logit of a side as a fraction of the canvas, centred on `side` pixels."""
    fraction = side / canvas
    return math.log(fraction / (1 - fraction)), variance


def patches(config: ConfigDict) -> None:
    """Without `attention`, and what came with it.

    Multipliers are for the caller to fix.
    """
    config.model.encoder = "patches"
    config.constraints.prior_weights = ConfigDict()  # its places are Gaussian
    if config.model.count < 0:
        config.model.encoder_hidden = 512  # see asr_jax.networks.PatchEncoder
    else:
        config.train.epochs = 60
    config.model.place_prior = "gaussian"
    config.model.count_gap_weight = config.train.count_mix_until = 0.0
    config.optimizer.learning_rate = 1e-3


def paper(config: ConfigDict) -> None:
    """The paper's encoder, epochs and learning rate; the released code's prior over sides.

    For the caller to begin with: `patches`, and multipliers that are the paper's.
    """
    config.model.encoder = "raw"
    config.model.encoder_hidden = 0
    config.model.activation = "softplus"
    config.model.scale_prior = (-1.0, 0.05)
    config.model.presence_bound = 0.0
    config.model.epsilon = 1e-7  # the smallest that float32 allows; the released code: 1e-10
    config.constraints.ramps = ConfigDict()  # with full weights from the start
    config.optimizer.schedule = "constant"
    config.optimizer.warmup = 0
    config.optimizer.weight_decay = 0.0
    config.train.epochs = 300


def apply(
    config: ConfigDict, argument: str, presets: Mapping[str, Callable[[ConfigDict], None]]
) -> ConfigDict:
    """Sets method, presets and name from a config's argument.

    Raises:
      ValueError: for a word that is neither a method nor a preset, and for two methods.
    """
    words = [word for word in argument.split(",") if word]
    unknown = [word for word in words if word not in METHODS and word not in presets]
    if unknown:
        raise ValueError(
            f"unknown method or preset {unknown[0]!r}: methods are {', '.join(METHODS)}, "
            f"presets are {', '.join(presets)}, as in --config=configs/mnist3.py:air,quick"
        )
    methods = [word for word in words if word in METHODS] or [config.method]
    if len(methods) > 1:
        raise ValueError(f"one method at a time, got {' and '.join(methods)}: run them in turn")
    config.method = methods[0]
    chosen = [word for word in presets if word in words]
    config.name = "-".join([config.name, config.method, *chosen])
    for word in chosen:
        presets[word](config)
    # A method is a prior and constraints, nothing else.
    config.model.prior = "fixed" if config.method == "air" else "learned"
    if config.method == "air":
        config.model.place_prior = "gaussian"  # it is fixed
    if config.method != "asr":
        fixed(config)  # and there are none
    return config
