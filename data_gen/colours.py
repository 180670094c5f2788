"""What scenes look like: the colours of objects, and what lies behind them. No files.

Colours are in [0, 1], on a last axis of 3 (red, green, blue) or of 1 (grey).
"""

import colorsys

import numpy as np

COLOURS = ("white", "random")  # of objects
BACKGROUNDS = ("black", "grey", "colour", "noise", "grid")

LEAST = 0.7  # saturation and value of a random colour, up to 1
MOST_CONTRAST = 0.7  # on mid grey few colours are farther away, and none beyond 0.87
LINE, SPACING = 0.4, 5  # grey of the grid, and pixels from line to line
DIMMED, LIFTED, SPREAD = 0.8, 0.1, 0.2  # noise makes x DIMMED * x + LIFTED + N(0, SPREAD^2)


def channels(colours: str, background: str) -> int:
    """3 for images in colour, 1 for grey ones."""
    return 3 if colours == "random" or background == "colour" else 1


def paint(
    rng: np.random.Generator, share: np.ndarray, colours: str, background: str, contrast: float
) -> np.ndarray:
    """Paints a scene whose objects and background have these shares of its pixels.

    A random colour has a uniform hue, and saturation and value uniform in [0.7, 1]. Behind it is
    black; one uniform grey level or RGB colour an image; a grid of lines of 0.4, 5 pixels apart
    with uniform offsets; or black, and noise over the whole image, objects included. What is not
    `contrast` away from what it has to be told from is drawn again.

    Args:
      rng: advanced by the call.
      share: [1 + n, H, W], the background's first, from `scenes.shares`.
      colours: one of COLOURS.
      background: one of BACKGROUNDS.
      contrast: least distance in RGB of an object from every colour of the background, noise aside;
        at most MOST_CONTRAST.

    Returns:
      uint8 [H, W, 3], or [H, W] where there is no colour.
    """
    count, *canvas = len(share) - 1, *share.shape[1:]
    white = np.ones(1)
    behind = _background(rng, background, canvas)
    while colours == "white" and _distance(white, behind) < contrast:
        behind = _background(rng, background, canvas)
    if colours == "white":
        colour = np.ones((count, 1))
    else:
        colour = np.array([_apart(rng, behind, contrast) for _ in range(count)]).reshape(-1, 3)
    image = share[0, ..., None] * behind + np.tensordot(share[1:], colour, axes=(0, 0))
    if background == "noise":
        image = DIMMED * image + LIFTED + rng.normal(0, SPREAD, image.shape)
    image = np.rint(255 * image.clip(0, 1)).astype(np.uint8)  # [H, W, C]
    return image if image.shape[2] == 3 else image[..., 0]


def _background(rng: np.random.Generator, background: str, canvas: list[int]) -> np.ndarray:
    """[H, W, C], or [1, 1, C] where it is of one colour."""
    if background == "grey":
        return rng.uniform(size=(1, 1, 1))
    if background == "colour":
        return rng.uniform(size=(1, 1, 3))
    if background == "grid":
        x, y = rng.integers(SPACING, size=2)
        lines = np.zeros((*canvas, 1))
        lines[y::SPACING] = lines[:, x::SPACING] = LINE
        return lines
    return np.zeros((1, 1, 1))


def _apart(rng: np.random.Generator, behind: np.ndarray, contrast: float) -> np.ndarray:
    """A random colour [3] that is told from a background."""
    while True:
        colour = np.array(colorsys.hsv_to_rgb(*rng.uniform((0, LEAST, LEAST), 1)))
        if _distance(colour, behind) >= contrast:
            return colour


def _distance(colour: np.ndarray, behind: np.ndarray) -> float:
    """From a colour [3] or [1] to the nearest one [..., 3] or [..., 1], Euclidean in RGB."""
    difference = np.broadcast_to(colour - behind, (*behind.shape[:-1], 3))
    return np.sqrt(np.square(difference).sum(-1)).min()
