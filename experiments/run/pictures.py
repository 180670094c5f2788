"""An image with the boxes that were found in it, as a picture."""

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from asr_jax.plots import COLOURS

WIDTH = 256  # pixels, at least
LINE = 2
TEXT = 13  # pixels high
SURE = 0.995  # scores from here on are not written: they would hide what is there


def picture(
    image: np.ndarray, boxes: np.ndarray, scores: np.ndarray, probability: float
) -> Image.Image:
    """The image enlarged by a whole number, boxes on it, scores below 1.00, and the count.

    Args:
      image: uint8 [H, W] or [H, W, 3].
      boxes: [n, 4] in its pixels.
      scores: [n] P(n >= t).
      probability: of the count n.
    """
    height, width = image.shape[:2]
    times = -(-WIDTH // width)
    large = image.repeat(times, axis=0).repeat(times, axis=1)  # every pixel is to be seen
    drawn = Image.new("RGB", (times * width, times * height + 2 * TEXT))
    drawn.paste(Image.fromarray(large).convert("RGB"))
    pen, font = ImageDraw.Draw(drawn), ImageFont.load_default(TEXT)
    for step, (box, score) in enumerate(zip(boxes, scores, strict=True)):
        colour = COLOURS[step % len(COLOURS)]
        x0, y0, x1, y1 = np.clip(np.rint(box * times), 0, [*drawn.size[:1], times * height] * 2)
        last = max(x0, x1 - 1), max(y0, y1 - 1)  # a box may be smaller than a pixel
        pen.rectangle((x0, y0, *last), outline=colour, width=LINE)
        if score >= SURE:
            continue
        text = f"{score:.2f}"
        left, top, right, bottom = pen.textbbox((0, 0), text, font)
        x = min(x0, drawn.width - right - 2)
        y = y0 - bottom - 2 if y0 > bottom + 2 else y0 + LINE  # above it, or in it
        pen.rectangle((x, y, x + right + 1, y + bottom + 1), fill="black")
        pen.text((x + 1, y), text, fill=colour, font=font)
    objects = f"{len(boxes)} object{'' if len(boxes) == 1 else 's'}"
    where = (6, times * height + TEXT)
    pen.text(where, f"{objects} ({probability:.0%})", fill="white", font=font, anchor="lm")
    return drawn
