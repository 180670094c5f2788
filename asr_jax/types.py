"""Structs that cross a module boundary, and the letters used for their axes.

B images, K steps, H x W canvas, C channels, h x w window, D appearance code, Z background code,
N = number of possible counts.
Everything that leaves a module is batch first, `[B, K, ...]`. Log-densities are in nats.
"""

from __future__ import annotations

import jax
from flax import struct


@struct.dataclass
class Gaussian:
    """A diagonal Gaussian as plain arrays: distributions cannot leave a scan, arrays can."""

    loc: jax.Array  # [..., D]
    std: jax.Array  # [..., D]


@struct.dataclass
class Lattice:
    """A density of shifts, known at one value and at the points of a lattice through it.

    On the canvas it is proportional to exp(logit); see `placement.py`.
    """

    logit: jax.Array  # [...]  of the value's centre
    points: jax.Array  # [..., M, 2]  centres (x, y) in [-1, 1]
    logits: jax.Array  # [..., M]


@struct.dataclass
class Latents:
    """What is sampled for each object, before tanh and sigmoid (`boxes.py` maps it to pixels)."""

    shift: jax.Array  # [B, K, 2]  tanh(shift) = centre (x, y) in [-1, 1]
    scale: jax.Array  # [B, K, 1]  sigmoid(scale) = side as a fraction of the shorter edge
    appearance: jax.Array  # [B, K, D]
    background: jax.Array | None = None  # [B, Z]; None where the background is black
    # [B, K]  smaller is nearer, of equals the earlier; None: earlier objects lie in front
    depth: jax.Array | None = None


@struct.dataclass
class Windows:
    """What objects look like in and around their boxes, whatever size these have on the canvas."""

    alpha: jax.Array  # [B, K, h, w]  how much of its object is at a pixel, in (0, 1)
    # [B, K, C, h, w] in (0, 1), or [B, K, C, 1, 1] where it is the same everywhere; None: white
    colour: jax.Array | None = None
    border: float = struct.field(pytree_node=False, default=0.0)  # see `ModelConfig.border`


@struct.dataclass
class Layers:
    """Each object alone on its canvas."""

    alpha: jax.Array  # [B, K, H, W]  how much of it is at a pixel
    # [B, K, C, H, W], or [B, K, C, 1, 1] where it is the same everywhere; None: white
    colour: jax.Array | None = None
    depth: jax.Array | None = None  # [B, K]  as in `Latents`

    @property
    def light(self) -> jax.Array:
        """Alpha times colour: [B, K, C, H, W], or [B, K, H, W] of what is white."""
        return self.alpha if self.colour is None else self.alpha[..., None, :, :] * self.colour


@struct.dataclass
class Noise:
    """The randomness of one sample; zeros give the means of the posterior's Gaussians.

    A sample of the prior has no relaxed presence; what that is drawn with chooses among the points
    of a lattice instead.
    """

    presence: jax.Array  # [B, K]  standard logistic
    shift: jax.Array  # [B, K, 2]  standard normal, as the next two
    scale: jax.Array  # [B, K, 1]
    appearance: jax.Array  # [B, K, D]
    background: jax.Array | None = None  # [B, Z]


@struct.dataclass
class Posterior:
    """q(z, n | x), with one sample of the continuous latents of all K steps.

    The sample is drawn as if every step had an object: given that step t is reached,
    q(z^t | z^{<t}, x) does not depend on what comes later.
    """

    presence_logits: jax.Array  # [B, K]  log-odds of one more object at step t
    presence_noise: jax.Array  # [B, K]  what the relaxed presence is sampled with
    shift: Gaussian  # [B, K, 2]; where a sample of the prior is looked at, as the prior has it
    scale: Gaussian  # [B, K, 1]
    appearance: Gaussian  # [B, K, D]
    latents: Latents
    background: Gaussian | None = None  # [B, Z]; None where the background is black
    windows: Windows | None = None  # the sample's objects, where they have been decoded
    # [B] the number of objects, -1 where it is not known; for constraints to look at, None: nowhere
    known_count: jax.Array | None = None


@struct.dataclass
class Counted:
    """Images of a data set, and how many objects some of them show."""

    images: jax.Array  # [N, H, W(, 3)]
    count: jax.Array  # [N] whole numbers, -1 where it is not known


@struct.dataclass
class Prior:
    """p(z, n), each step conditioned on the latents of the steps before it."""

    presence_logits: jax.Array  # [B, K]
    shift: Gaussian | Lattice  # [B, K, 2]; of a lattice [B, K] and [B, K, M]
    scale: Gaussian  # [B, K, 1]
    appearance: Gaussian  # [B, K, D]


@struct.dataclass
class Scene:
    """An explained or a generated image."""

    canvas: jax.Array  # [B, H, W] or [B, H, W, C] in [0, 1]
    count: jax.Array  # [B] number of objects
    boxes: jax.Array  # [B, K, 4] pixels; those from `count` on mean nothing
    # [B, H, W]  what is seen: 0 the background, t the object of the t-th box, t = 1..K
    mask: jax.Array | None = None


@struct.dataclass
class Terms:
    """The objective taken apart, one value an image, in nats (constraints: in their own unit)."""

    elbo: jax.Array  # [B]  log_likelihood minus the KLs
    log_likelihood: jax.Array  # [B]  E_q log p(x | z, n)
    kl_count: jax.Array  # [B]
    kl_shift: jax.Array  # [B]
    kl_scale: jax.Array  # [B]
    kl_appearance: jax.Array  # [B]
    penalty: jax.Array  # [B]  sum_i weight_i max(F_i, 0)
    prior_penalty: jax.Array  # [B]  the same of the prior's places, with weights of its own
    # [B]  KL(q*(n) || q(n)), q* the best count posterior of the sample; 0 if it is not trained with
    count_gap: jax.Array
    kl_background: jax.Array | None  # [B]; None where the background is black
    constraints: dict[str, jax.Array]  # F_i of the posterior, each [B]
    prior_constraints: dict[str, jax.Array]  # of the prior's places, see `constraints/places.py`
