"""p(centre | side, earlier boxes): how a box lies to the edges of the canvas, and to earlier boxes.

    p(c^t | s^t, z^{<t}) = exp f(c^t) / integral of exp f over the canvas
    f(c) = a(box at c) + sum_{i < t} b(box at c, box i)

a and b are small networks of distances, which also see the state of the prior's LSTM: a pairwise
point process (Strauss 1975), learned. What holds of two boxes is learned once for all places, and a
density can end where boxes touch, which a Gaussian's cannot. The integral is a mean over a lattice.
"""

from __future__ import annotations

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from asr_jax import boxes
from asr_jax.networks import SMALL
from asr_jax.types import Lattice

# Points of a lattice, Fibonacci numbers.
POINTS = 34  # for the integral: log-densities of trained models err by 0.05 nats, none on average
POINTS_TO_DRAW = 987  # where it is sampled
INSIDE = 1 - 1e-6  # a centre at the edge has an infinite shift
SHARP = 2.0  # an edge that is learned can be as sharp as 1 / SHARP pixels


class Relation(nn.Module):
    """A number from facts about a box; what the facts mean depends on a state."""

    features: int = 16

    @nn.compact
    def __call__(self, facts: jax.Array, state: jax.Array) -> jax.Array:
        """facts: [B, T, M, X]; state: [B, T, F] -> [B, T, M], small when untrained."""
        x = nn.Dense(self.features, name="facts")(facts)
        x = x + nn.Dense(self.features, use_bias=False, name="state")(state)[:, :, None]
        return nn.Dense(1, use_bias=False, kernel_init=SMALL, name="sum")(nn.relu(x))[..., 0]


class Placement(nn.Module):
    """The density of an object's place, given its side and the boxes of earlier objects."""

    canvas: tuple[int, int]  # (H, W)
    points: int = POINTS  # of the lattice for the integral

    def setup(self):
        self.alone = Relation()
        self.pair = Relation()

    def __call__(self, states: jax.Array, shift: jax.Array, scale: jax.Array) -> Lattice:
        """The density of every step along given latents.

        states: [B, K, F] of the LSTM; shift [B, K, 2] and scale [B, K, 1] of all objects.

        A step's lattice goes through its own centre. So it lies differently in every image, and no
        network can learn to hide between its points; and no noise is needed.
        """
        steps = shift.shape[1]
        centre, side = boxes.centre(shift), boxes.side(scale)
        offsets = jnp.asarray(lattice(self.points))
        start = jax.lax.stop_gradient(centre)[:, :, None]  # the integral depends on no place
        points = jnp.concatenate([centre[:, :, None], _moved(start, offsets)], axis=2)
        pairs = [(t, i) for t in range(steps) for i in range(t)]
        logits = self._logits(states, points, side, centre, side, pairs)
        return Lattice(logits[..., 0], points[:, :, 1:], logits[..., 1:])

    def draw(
        self,
        state: jax.Array,
        scale: jax.Array,
        earlier: tuple[jax.Array, jax.Array],
        where: jax.Array,
        which: jax.Array,
    ) -> jax.Array:
        """The next object's shift [B, 2], one of the points of a lattice.

        state: [B, F]; scale: [B, 1]; earlier: shift [B, t, 2] and scale [B, t, 1] of objects.
        Numbers in (0, 1): `where` [B, 2] the lattice lies, `which` [B] of its points it is.
        """
        offsets = jnp.asarray(lattice(POINTS_TO_DRAW))
        points = _moved(2 * where[:, None] - 1, offsets)[:, None]  # [B, 1, M, 2]
        centre, sides = boxes.centre(earlier[0]), boxes.side(earlier[1])
        pairs = [(0, i) for i in range(centre.shape[1])]
        side = boxes.side(scale)[:, None]
        logits = self._logits(state[:, None], points, side, centre, sides, pairs)[:, 0]
        below = jnp.cumsum(nn.softmax(logits), axis=-1)[:, :-1]  # rounding: the last has no end
        chosen = jnp.sum(which[:, None] > below, axis=-1)[:, None, None]
        centre = jnp.take_along_axis(points[:, 0], chosen, axis=1)[:, 0]
        return jnp.arctanh(jnp.clip(centre, -INSIDE, INSIDE))

    def _logits(self, states, points, side, others, other_side, pairs) -> jax.Array:
        """f at points [B, T, M, 2] of T objects -> [B, T, M]; pairs: (object, other), indices."""
        place = boxes.centre_in_pixels(points, self.canvas)
        half = boxes.side_in_pixels(side, self.canvas)[:, :, None] / 2  # [B, T, 1, 1]
        opposite = boxes.centre_in_pixels(-points, self.canvas)  # from the right, and from below
        edges = jnp.concatenate([place - half, opposite - half], axis=-1)  # pixels to each
        logits = self.alone(jnp.concatenate([points, jnp.tanh(SHARP * edges)], -1), states)
        if not pairs:
            return logits
        mine, theirs = np.array(pairs).T
        other = boxes.centre_in_pixels(others, self.canvas)[:, theirs, None]  # [B, P, 1, 2]
        other_half = boxes.side_in_pixels(other_side, self.canvas)[:, theirs, None] / 2
        reach = half[:, mine] + other_half  # at this distance boxes touch
        apart = (place[:, mine] - other) / reach
        gap = jnp.maximum(jnp.abs(apart[..., :1]), jnp.abs(apart[..., 1:])) - 1  # below 0: overlap
        facts = jnp.concatenate(
            [apart / 2, jnp.tanh(SHARP * gap * reach), jnp.tanh(2 * gap)], axis=-1
        )
        of_pairs = self.pair(facts, states[:, mine])  # [B, P, M]
        belongs = np.equal.outer(np.arange(points.shape[1]), mine).astype(np.float32)  # [T, P]
        return logits + jnp.einsum("tp,bpm->btm", belongs, of_pairs)


def lattice(points: int) -> np.ndarray:
    """A Fibonacci lattice on [0, 1)^2, which covers it evenly: [points, 2], the first is (0, 0).

    Raises:
      ValueError: a number of points that is no Fibonacci number.
    """
    before, number = 1, 1
    while number < points:
        before, number = number, before + number
    if number != points:
        raise ValueError(f"points must be a Fibonacci number, got {points}: take {number}")
    i = np.arange(points)
    return np.stack([i / points, i * before % points / points], axis=-1).astype(np.float32)


def _moved(start: jax.Array, offsets: jax.Array) -> jax.Array:
    """Points [..., M, 2] from a start [..., 1, 2] on, in [-1, 1]; beyond an edge they come back."""
    offsets = jnp.expand_dims(offsets, range(start.ndim - 2))
    return 2 * (((start + 1) / 2 + offsets) % 1) - 1
