"""Placing sprites on a canvas: pure functions, no files.

A sprite is a small square uint8 image that is black where there is nothing. Pixels run x to the
right and y down; a box is (x0, y0, x1, y1), half-open, so boxes that touch do not overlap.
"""

from collections.abc import Callable, Sequence
from itertools import combinations
from typing import NamedTuple

import numpy as np
from PIL import Image

MAX_LAYOUTS = 1 << 18  # candidates tried for one scene before giving up


class Scenes(NamedTuple):
    """N images and what is known of their objects; M is the largest count, None is unknown."""

    image: np.ndarray  # uint8 [N, H, W], or [N, H, W, 3] in colour
    count: np.ndarray | None  # int32 [N]; -1 where only others are known
    box: np.ndarray | None  # float32 [N, M, 4], pixels (x0, y0, x1, y1), half-open; 0 where absent
    label: np.ndarray | None  # int32 [N, M]; -1 where absent
    source_index: np.ndarray | None  # int32 [N, M], position in the split's file; -1 where absent
    orientation: np.ndarray | None = None  # float32 [N, M], radians; 0 where absent
    scale: np.ndarray | None = None  # float32 [N, M], 1 is the source's largest; 0 where absent
    mask: np.ndarray | None = None  # uint8 [N, H, W], what is seen: 0 background, t the t-th object


class Sprites(NamedTuple):
    """What the scenes of one split are made of: S objects."""

    draw: Callable[[int], np.ndarray]  # row in 0..S-1 -> a sprite, uint8 [s, s]
    labels: np.ndarray  # int32 [S]
    index: np.ndarray  # int32 [S]: position in the source
    facts: dict[str, np.ndarray]  # further fields of Scenes -> float32 [S]
    source: str  # for people: where the sprites come from
    sha256: str  # of all that `draw` and the arrays say


def crop_to_ink(image: np.ndarray) -> np.ndarray:
    """Returns the smallest square around the ink of `image` [H, W], ink centred: uint8 [s, s].

    Raises ValueError for an image without ink.
    """
    ys, xs = np.flatnonzero(image.any(1)), np.flatnonzero(image.any(0))
    if not len(ys):
        raise ValueError(
            f"an object needs ink, got an all-black image of shape {image.shape}: drop it from the"
            " source"
        )
    ink = image[ys[0] : ys[-1] + 1, xs[0] : xs[-1] + 1]
    side = max(ink.shape)
    square = np.zeros((side, side), np.uint8)
    y, x = (side - ink.shape[0]) // 2, (side - ink.shape[1]) // 2
    square[y : y + ink.shape[0], x : x + ink.shape[1]] = ink
    return square


def scale_sprite(sprite: np.ndarray, scale: float) -> np.ndarray:
    """Returns `sprite` [s, s] resized, antialiased, to side max(1, round(scale * s)): uint8."""
    side = max(1, round(scale * len(sprite)))
    if side == len(sprite):
        return sprite
    return np.asarray(Image.fromarray(sprite).resize((side, side), Image.Resampling.LANCZOS))


def place(
    rng: np.random.Generator,
    sprites: Sequence[np.ndarray],
    canvas: int,
    layout: str,
    min_visible: int = 0,
) -> np.ndarray:
    """Draws the top-left corners of `sprites`, uniformly over all layouts that are valid.

    Whole layouts are drawn and rejected, never single objects, which would favour some layouts.

    Args:
      rng: advanced by the call.
      sprites: n square sprites, uint8 [s_i, s_i].
      canvas: side of the canvas in pixels.
      layout: a key of LAYOUTS.
      min_visible: pixels of each sprite that have to be seen, later ones being in front.

    Returns:
      int64 [n, 2], (x, y) of each sprite's top-left pixel.

    Raises:
      ValueError: for a sprite larger than the canvas, or with fewer pixels than have to be seen, or
        where no valid layout was found.
    """
    sides = np.array([len(sprite) for sprite in sprites], np.int64)
    if sides.max(initial=0) > canvas:
        raise ValueError(
            f"canvas must be at least a sprite's side, {sides.max()}, got {canvas}: raise"
            " config.data.canvas or lower config.data.scale"
        )
    most = min(((sprite > 127).sum() for sprite in sprites), default=min_visible)  # see `seen`
    if most < min_visible:
        raise ValueError(
            f"min_visible must be at most the pixels that a sprite has, {most}, got {min_visible}:"
            " lower config.data.min_visible, or raise config.data.scale or scales"
        )
    pairs = [
        (i, j, LAYOUTS[layout](sprites[i], sprites[j]))
        for i, j in combinations(range(len(sprites)), 2)
    ]
    tried, batch = 0, 16
    while tried < MAX_LAYOUTS:
        places = (canvas - sides + 1)[:, None]  # how many each sprite has, per axis
        xy = rng.integers(0, places, size=(batch, len(sprites), 2), dtype=np.int64)
        valid = np.ones(batch, bool)
        for i, j, clash in pairs:
            valid &= ~clash(xy[:, j] - xy[:, i])
        for row in np.flatnonzero(valid):
            if not min_visible or _all_seen(sprites, xy[row], canvas, min_visible):
                return xy[row]  # the first valid one
        tried += batch
        batch = min(2 * batch, 4096)
    raise ValueError(
        f"no {layout!r} layout of {len(sprites)} sprites with sides {sides.tolist()} in {tried}"
        f" tries on a canvas of {canvas}: raise config.data.canvas, or lower config.data.counts,"
        " scale, scales or min_visible"
    )


def _all_seen(sprites: Sequence[np.ndarray], xy: np.ndarray, canvas: int, min_visible: int) -> bool:
    """Whether each of the sprites has that many visible pixels."""
    pixels = np.bincount(seen(shares(sprites, xy, canvas)).ravel(), minlength=1 + len(sprites))
    return (pixels[1:] >= min_visible).all()


def boxes(sprites: Sequence[np.ndarray], xy: np.ndarray) -> np.ndarray:
    """Returns the boxes of whole sprites, hidden parts included: float32 [n, 4] in pixels."""
    sides = np.array([len(sprite) for sprite in sprites], np.int64)[:, None]
    return np.concatenate([xy, xy + sides], axis=1).astype(np.float32)


def shares(sprites: Sequence[np.ndarray], xy: np.ndarray, canvas: int) -> np.ndarray:
    """Returns how much of each pixel is the background's, and each sprite's: [1 + n, H, W].

    A sprite covers what lies behind it in proportion to its ink, and later ones lie in front. The
    shares of a pixel add up to 1.
    """
    share = np.zeros((1 + len(sprites), canvas, canvas))
    share[0] = 1
    for i, (sprite, (x, y)) in enumerate(zip(sprites, xy, strict=True), 1):
        place = np.s_[y : y + len(sprite), x : x + len(sprite)]
        ink = sprite / 255
        share[:i, *place] *= 1 - ink
        share[i, *place] = ink
    return share


def seen(share: np.ndarray) -> np.ndarray:
    """Returns what has the largest share of each pixel, 0 the background: uint8 [H, W]."""
    return share.argmax(0).astype(np.uint8)


# A layout turns two sprites into a test of offsets: int [T, 2], the second sprite's (x, y) minus
# the first's -> bool [T], whether the two clash there.
Clash = Callable[[np.ndarray], np.ndarray]


def _same_columns(a: np.ndarray, b: np.ndarray) -> Clash:
    return lambda offset: (offset[:, 0] < len(a)) & (offset[:, 0] > -len(b))


def _boxes_overlap(a: np.ndarray, b: np.ndarray) -> Clash:
    return lambda offset: ((offset < len(a)) & (offset > -len(b))).all(1)


def _inks_overlap(a: np.ndarray, b: np.ndarray) -> Clash:
    """Looks offsets up in a table of the ink that both sprites share: their cross-correlation."""
    side = len(a) + len(b)  # one more than there are offsets at which the boxes overlap
    spectrum = np.fft.rfft2(a > 0, (side, side)) * np.fft.rfft2(b > 0, (side, side)).conj()
    shared = np.fft.irfft2(spectrum, (side, side)) > 0.5  # whole numbers, up to rounding
    shared[len(a)] = shared[:, len(a)] = False  # where every offset beyond the boxes is sent

    def clash(offset: np.ndarray) -> np.ndarray:
        near = (offset < len(a)) & (offset > -len(b))
        dx, dy = np.where(near, offset, len(a)).T % side
        return shared[dy, dx]

    return clash


def _never(a: np.ndarray, b: np.ndarray) -> Clash:
    return lambda offset: np.zeros(len(offset), bool)


LAYOUTS = {
    "disjoint": _boxes_overlap,  # boxes separate along x or along y
    "columns": _same_columns,  # boxes separate along x: the easier layout of the released code
    "pixels": _inks_overlap,  # ink separates; boxes may overlap
    "occluded": _never,  # anywhere, in front of each other: see min_visible
}
