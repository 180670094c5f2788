"""The fields of every configuration, with their defaults."""

from ml_collections import ConfigDict


def fields() -> ConfigDict:
    """What a file of configs/ changes, and a flag `--config.a.b=value`."""
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
    config.model.overlap = False
    config.model.texture = 1
    config.model.max_objects = 3
    config.model.count = 3  # number of objects where it is known; -1: inferred
    config.model.window = 28
    config.model.border = 0.0
    config.model.appearance = 50
    config.model.lstm = 256
    config.model.hidden = (512, 256)
    config.model.activation = "silu"
    config.model.head = 64
    config.model.encoder = "attention"
    config.model.encoder_blocks = 0
    config.model.look = 1.8
    config.model.votes_within = 1.0
    config.model.encoder_hidden = 0
    config.model.scale_glimpse = 0.0
    config.model.prior = "learned"
    config.model.place_prior = "relations"
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
