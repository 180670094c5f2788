"""What there is in images, and where: the posterior's mode, with its probabilities."""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

from asr_jax.checks import check_model, check_params
from asr_jax.distributions import CountChain
from asr_jax.evaluation import map_batches
from asr_jax.model import Model, Params


@struct.dataclass
class Detections:
    """What was found in B images, as NumPy arrays; t = 1..K are the steps of the posterior."""

    count: np.ndarray  # [B] the most likely number of objects; the first `count` rows are these
    probabilities: np.ndarray  # [B, K+1]  q(n | x)
    boxes: np.ndarray  # [B, K, 4]  pixels (x0, y0, x1, y1); may reach beyond the image
    scores: np.ndarray  # [B, K]  P(n >= t), that there is the t-th object
    mask: np.ndarray  # [B, H, W]  what is seen: 0 the background, t the t-th object


def detect(
    params: Params, images: np.ndarray, *, model: Model, batch_size: int = 250
) -> Detections:
    """The objects of each image: how many, where, and how probable each is.

    Counts are the mode of q(n | x), boxes come from the means of the posterior's Gaussians, as in
    `Model.reconstruct`.

    Args:
      params: of the model.
      images: [B, H, W], or [B, H, W, 3] with colours: uint8, or floats in [0, 1].
      model: static.
      batch_size: images at a time, rounded up to a multiple of the devices; results do not depend
        on it.

    Raises:
      ValueError: images or parameters that do not fit, a batch_size below 1.
    """
    images = np.asarray(check_model(model).check(images))
    check_params(params, model)
    return map_batches(functools.partial(_detect, params, model=model), batch_size, images)


@functools.partial(jax.jit, static_argnames="model")
def _detect(params, images, *, model: Model) -> Detections:
    posterior = model.posterior(params, None, images)
    q_n = CountChain(posterior.presence_logits)
    scene = model.scene(params, posterior.latents, q_n.mode())
    return Detections(
        count=scene.count,
        probabilities=jnp.exp(q_n.log_probs),
        boxes=scene.boxes,
        scores=q_n.survival,
        mask=scene.mask,
    )
