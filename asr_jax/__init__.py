"""asr_jax: Amortized Structural Regularization (ASR) in JAX.

`Model` binds posterior, prior and decoder as pure functions; `elbo_with_penalty` is the jitted
objective; constraints are named functionals of the posterior.
"""

from asr_jax import boxes, charts, constraints, generation, metrics, plots, spatial  # noqa: F401
from asr_jax.bound import elbo
from asr_jax.checkpoint import Checkpoints
from asr_jax.config import ModelConfig, OptimizerConfig
from asr_jax.constraints import (
    Constraint,
    counted_constraint,
    dual,
    fixed,
    number_constraints,
    overlap_constraints,
    snug_constraints,
    visible_constraint,
)
from asr_jax.detection import Detections, detect
from asr_jax.distributions import CountChain
from asr_jax.evaluation import evaluate, summarise
from asr_jax.fit import fit
from asr_jax.generation import generate
from asr_jax.importance import iwae
from asr_jax.model import Model
from asr_jax.objective import elbo_with_penalty
from asr_jax.pretrained import Pretrained, load_pretrained, pretrained_names
from asr_jax.training import (
    Schedule,
    TrainState,
    init_state,
    optimizer,
    train_seeds,
    train_steps,
)
from asr_jax.types import Counted, Gaussian, Latents, Lattice, Noise, Posterior, Prior, Scene, Terms

__version__ = "0.2.0"

__all__ = [
    "Checkpoints",
    "Constraint",
    "CountChain",
    "Counted",
    "Detections",
    "Gaussian",
    "Latents",
    "Lattice",
    "Model",
    "ModelConfig",
    "Noise",
    "OptimizerConfig",
    "Posterior",
    "Pretrained",
    "Prior",
    "Scene",
    "Schedule",
    "Terms",
    "TrainState",
    "counted_constraint",
    "detect",
    "dual",
    "elbo",
    "elbo_with_penalty",
    "evaluate",
    "fit",
    "fixed",
    "generate",
    "init_state",
    "iwae",
    "load_pretrained",
    "number_constraints",
    "optimizer",
    "overlap_constraints",
    "pretrained_names",
    "snug_constraints",
    "summarise",
    "train_seeds",
    "train_steps",
    "visible_constraint",
]


def __dir__() -> list[str]:
    """What a user calls, and the submodules that notebooks reach into."""
    inside = ("boxes", "charts", "constraints", "generation", "metrics", "plots", "spatial")
    return sorted([*__all__, *inside])
