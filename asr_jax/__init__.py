"""asr_jax: Amortized Structural Regularization (ASR) in JAX.

`Model` binds posterior, prior and decoder as pure functions; `elbo_with_penalty` is the jitted
objective; constraints are named functionals of the posterior.
"""

from asr_jax.checkpoint import Checkpoints
from asr_jax.constraints import Constraint, number_constraints, overlap_constraints
from asr_jax.distributions import CountChain
from asr_jax.evaluate import evaluate
from asr_jax.generation import generate
from asr_jax.model import Model, Scene
from asr_jax.objective import elbo, elbo_with_penalty, iwae
from asr_jax.pretrained import Pretrained, load_pretrained, pretrained_names
from asr_jax.training import (
    OptimizerConfig,
    Schedule,
    TrainState,
    init_state,
    optimizer,
    train_seeds,
    train_steps,
)
from asr_jax.types import Gaussian, Latents, ModelConfig, Noise, Posterior, Prior, Terms

__all__ = [
    "Checkpoints",
    "Constraint",
    "CountChain",
    "Gaussian",
    "Latents",
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
    "elbo",
    "elbo_with_penalty",
    "evaluate",
    "generate",
    "init_state",
    "iwae",
    "load_pretrained",
    "number_constraints",
    "optimizer",
    "overlap_constraints",
    "pretrained_names",
    "train_seeds",
    "train_steps",
]
