"""Objects in new images: how many there are, where, and how probable each is.

    python -m experiments.detect --workdir=runs/own-asr-seed0 --images=new_pictures/ --out=found/
    python -m experiments.detect --pretrained=mnist3 --images=scenes.npz --out=found/

Of --images, see `data_gen.user_scenes`, a few are in memory at a time. --out gets detections.json
(in the format of COCO), detections.csv and pictures/, see `experiments.run.detections`.
"""

import signal
import sys

import numpy as np
from absl import flags
from tqdm import tqdm

import asr_jax
from data_gen import user_scenes
from data_gen.paths import new_folder
from experiments.run import detections, finished
from experiments.run.main import main

WORKDIR = flags.DEFINE_string("workdir", None, "A finished run; of several seeds, one's folder.")
PRETRAINED = flags.DEFINE_string("pretrained", None, "Or parameters that come with the package.")
IMAGES = flags.DEFINE_string("images", None, "A folder of PNG or JPEG, an .npz or an .npy file.")
OUT = flags.DEFINE_string("out", "found", "The folder to make.")
RESIZE = flags.DEFINE_bool("resize", False, "Resizes pictures to the size of those of the run.")
PICTURES = flags.DEFINE_bool("pictures", True, "Draws boxes on every image.")
BATCH = flags.DEFINE_integer("batch_size", 250, "Images at a time.", lower_bound=1)
flags.mark_flag_as_required("images")


def detect(_) -> None:
    out = new_folder(OUT.value, "--out")
    one = _finished()
    found = _images(one.run)
    found.check(BATCH.value)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("error: stopped by SIGTERM"))
    with (
        detections.writing(out, found, PICTURES.value) as write,
        tqdm(total=len(found.names), unit=" images", desc=out.name) as bar,
    ):
        for number, chunk in enumerate(found.chunks(BATCH.value)):
            if not number:
                one.run.model.warn_of_background(chunk, found.label)
            # The last chunk is filled up: for one of another size, all would be compiled again.
            missing = BATCH.value - len(chunk) if number else 0
            image = np.concatenate([chunk, np.repeat(chunk[-1:], missing, axis=0)])
            # All images together were looked at; a few of them may be black.
            image = image / np.float32(255)
            result = asr_jax.detect(one.params, image, model=one.run.model, batch_size=BATCH.value)
            write(chunk, result)  # rows that fill it up are not looked at
            bar.update(len(chunk))
    print(f"Wrote {out}")


def _finished() -> finished.Finished:
    if bool(WORKDIR.value) == bool(PRETRAINED.value):
        raise ValueError("name one of --workdir and --pretrained: a run's folder, or a name")
    if PRETRAINED.value:
        return finished.pretrained(PRETRAINED.value)
    return finished.load(finished.one(WORKDIR.value))


def _images(run) -> user_scenes.Found:
    """The images, once they are such as the run was trained with.

    Raises:
      ValueError: another size, or colours that the model does not have; as `user_scenes.find`.
    """
    canvas, coloured = run.model.config.canvas, run.model.config.channels == 3
    size = canvas if RESIZE.value or run.data.size else ()
    colour = "yes" if coloured else "no" if run.data.colour == "no" else "auto"
    found = user_scenes.find(IMAGES.value, size, colour, "--images", "--resize")
    if found.canvas != canvas:
        (height, width), (h, w) = found.canvas, canvas
        resized = ", or have them resized with --resize" if found.path.is_dir() else ""
        raise ValueError(
            f"{found.label} have {width} x {height} pixels, and those of the run {w} x {h}: crop "
            f"them with objects as large as there{resized}"
        )
    if found.colour() and not coloured:
        raise ValueError(f"{found.label} are in colour, and the run's are grey: save them in grey")
    return found


if __name__ == "__main__":
    main(detect)
