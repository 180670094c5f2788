"""Multi-MNIST: scenes of several digits, built once with TFDS and kept on disk.

python -m data_gen.multi_mnist --config=configs/mnist3.py --out=contact_sheet.png
"""

import contextlib
import dataclasses
import hashlib
import io
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import tensorflow_datasets as tfds
from absl import app, flags, logging
from tqdm import tqdm

from data_gen import scenes, sources
from data_gen.scenes import Scenes

VERSION = "1.0.0"  # raise it whenever the same settings begin to give other scenes
SPLITS = ("train", "test")


@dataclasses.dataclass(frozen=True)
class SceneConfig:
    """What the scenes are; equal configs and equal digits give equal bytes.

    Raises ValueError for a value out of its range.
    """

    canvas: int = 50  # side of the image, pixels
    counts: tuple[int, ...] = (3,)  # numbers of digits, each in an equal share of the scenes
    layout: str = "disjoint"  # a key of scenes.LAYOUTS
    digit_scale: float = 0.6  # 1.0 keeps MNIST's size: ink of about 20 pixels
    train_size: int = 20_000  # scenes, of MNIST's own training digits
    test_size: int = 1_000  # scenes, of MNIST's own test digits
    seed: int = 0

    def __post_init__(self):
        if not isinstance(self.counts, tuple) or not all(isinstance(n, int) for n in self.counts):
            _refuse("counts", "be a tuple of whole numbers, such as (1, 3)", self.counts)
        if not self.counts or min(self.counts) < 0 or max(self.counts) < 1:
            _refuse("counts", "name counts of 0 or more, one of them at least 1", self.counts)
        if len(set(self.counts)) < len(self.counts):
            _refuse("counts", "name each count once", self.counts)
        if self.layout not in scenes.LAYOUTS:
            _refuse("layout", f"be one of {', '.join(scenes.LAYOUTS)}", self.layout)
        if not 0 < self.digit_scale < float("inf"):
            _refuse("digit_scale", "be above 0", self.digit_scale)
        for name in ("canvas", "train_size", "test_size"):
            if getattr(self, name) < 1:
                _refuse(name, "be at least 1", getattr(self, name))
        if self.seed < 0:
            _refuse("seed", "be at least 0", self.seed)
        side = max(1, round(20 * self.digit_scale))  # MNIST's ink fits 20 x 20 pixels
        if self.canvas < side:
            _refuse("canvas", f"be at least a digit's side, {side}", self.canvas)


class Dataset(NamedTuple):
    train: Scenes
    test: Scenes
    source: str  # for people: where the digits came from


def _refuse(name: str, rule: str, value: object) -> None:
    raise ValueError(f"{name} must {rule}, got {value}: set config.data.{name}")


def fingerprint(config: SceneConfig, digits: dict[str, sources.Digits]) -> str:
    """Returns a readable name for these scenes, with a hash of all that decides their bytes."""
    facts = dataclasses.asdict(config) | {"digit_scale": float(config.digit_scale)}
    facts |= {split: digits[split].sha256 for split in SPLITS} | {"version": VERSION}
    digest = hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()
    counts = "-".join(map(str, config.counts))
    return f"{config.layout}_count{counts}_canvas{config.canvas}_seed{config.seed}_{digest[:12]}"


def generate(config: SceneConfig, digits: sources.Digits, split: str) -> Iterator[dict]:
    """Yields the scenes of one split as dicts, with `row` in `digits` for every object, or -1."""
    size = getattr(config, f"{split}_size")
    rng = np.random.Generator(np.random.PCG64([config.seed, SPLITS.index(split)]))
    counts = np.resize(np.array(config.counts, np.int32), size)  # equal shares, to within one
    counts = counts[np.argsort(rng.random(size), kind="stable")]
    slots = max(config.counts)
    for count in counts:
        rows = rng.integers(len(digits.images), size=count, dtype=np.int64)
        sprites = [
            scenes.scale_sprite(scenes.crop_to_ink(digits.images[row]), config.digit_scale)
            for row in rows
        ]
        xy = scenes.place(rng, sprites, config.canvas, config.layout)
        image, box = scenes.render(sprites, xy, config.canvas)
        absent = slots - count
        yield {
            "image": image,
            "count": count,
            "box": np.pad(box, ((0, absent), (0, 0))),
            "label": np.pad(digits.labels[rows].astype(np.int32), (0, absent), constant_values=-1),
            "row": np.pad(rows.astype(np.int32), (0, absent), constant_values=-1),
        }


@dataclasses.dataclass(kw_only=True)
class MultiMnistConfig(tfds.core.BuilderConfig):
    scenes: SceneConfig
    digits: dict[str, sources.Digits] = dataclasses.field(repr=False)


class MultiMnist(tfds.core.GeneratorBasedBuilder, skip_registration=True):
    """The TFDS builder; `load` is the usual way in."""

    VERSION = tfds.core.Version(VERSION)

    def _info(self) -> tfds.core.DatasetInfo:
        config = self.builder_config.scenes
        slots = max(config.counts)
        features = {
            "image": tfds.features.Tensor(
                shape=(config.canvas, config.canvas, 1), dtype=np.uint8, encoding="zlib"
            ),
            "count": tfds.features.Tensor(shape=(), dtype=np.int32),
            "box": tfds.features.Tensor(shape=(slots, 4), dtype=np.float32),
            "label": tfds.features.Tensor(shape=(slots,), dtype=np.int32),
            "row": tfds.features.Tensor(shape=(slots,), dtype=np.int32),
        }
        return self.dataset_info_from_configs(
            description="Scenes of several MNIST digits, with their boxes.",
            features=tfds.features.FeaturesDict(features),
            disable_shuffling=True,  # the scenes are already in random order
        )

    def _split_generators(self, dl_manager) -> dict:
        return {split: self._generate_examples(split) for split in SPLITS}

    def _generate_examples(self, split: str) -> Iterator[tuple[int, dict]]:
        config = self.builder_config
        examples = generate(config.scenes, config.digits[split], split)
        size = getattr(config.scenes, f"{split}_size")
        yield from enumerate(tqdm(examples, f"Multi-MNIST {split}", size, unit=" scenes"))


def load(config: SceneConfig, digits_dir: str = "", data_dir: str = "") -> Dataset:
    """Returns the scenes that `config` describes, from disk if they were built before.

    Args:
      config: what the scenes are.
      digits_dir: where the digits are, see `sources.load_digits`.
      data_dir: where the scenes are kept; if empty: ASR_DATA_DIR, else ~/.cache/asr_jax.

    Raises:
      ValueError: for digits that are not MNIST, a layout that does not fit, or a damaged cache.
      FileNotFoundError: for a `digits_dir` without MNIST's files.
    """
    digits = {split: sources.load_digits(split, digits_dir) for split in SPLITS}
    source = " and ".join(dict.fromkeys(digits[split].source for split in SPLITS))
    folder = Path(data_dir or os.environ.get("ASR_DATA_DIR") or "~/.cache/asr_jax").expanduser()
    logging.info("Digits: %s. Scenes: %s in %s", source, fingerprint(config, digits), folder)
    with _quiet_tfds():
        builder = _prepared(config, digits, folder)
        return Dataset(*(_read(builder, split, digits[split]) for split in SPLITS), source)


def scene_config(data) -> SceneConfig:
    """Returns the part of `config.data`, a mapping, that describes scenes."""
    settings = {field.name: data[field.name] for field in dataclasses.fields(SceneConfig)}
    if isinstance(settings["counts"], list):
        settings["counts"] = tuple(settings["counts"])
    return SceneConfig(**settings)


def _prepared(config: SceneConfig, digits: dict, folder: Path) -> MultiMnist:
    def builder() -> MultiMnist:
        name = fingerprint(config, digits)
        return MultiMnist(
            config=MultiMnistConfig(name=name, scenes=config, digits=digits),
            data_dir=folder,
            file_format="array_record",
        )

    first = builder()
    try:
        # Written to a temporary folder that is renamed when complete; does nothing if it exists.
        first.download_and_prepare()
    except OSError:
        # Another process may have been faster: then its scenes, which are the same, are there.
        if not builder().is_prepared():
            raise
        return builder()
    return first


def _read(builder: MultiMnist, split: str, digits: sources.Digits) -> Scenes:
    try:
        source = builder.as_data_source(split)
        records = source.__getitems__(range(len(source)))
    except Exception as error:  # array_record raises bare RuntimeErrors and IndexErrors
        raise ValueError(
            f"the scenes in {builder.data_path} are damaged ({error}): delete that folder, and they"
            " are built again"
        ) from error
    columns = {key: np.stack([record[key] for record in records]) for key in records[0]}
    columns["count"] = columns["count"].astype(np.int32)  # scalars come back as Python's
    row = columns.pop("row")
    source_index = np.where(row < 0, -1, digits.index[row]).astype(np.int32)
    return Scenes(**columns, source_index=source_index)


@contextlib.contextmanager
def _quiet_tfds() -> Iterator[None]:
    """Hides what TFDS prints, logs and draws; the progress bar of `MultiMnist` is ours."""
    verbosity = logging.get_verbosity()
    logging.set_verbosity(logging.ERROR)
    tfds.display_progress_bar(False)
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            yield
    finally:
        tfds.display_progress_bar(True)
        logging.set_verbosity(verbosity)


def main(_) -> None:
    from data_gen.contact_sheet import save_contact_sheet  # matplotlib, only needed here

    flag = flags.FLAGS
    logging.set_verbosity(logging.INFO)
    data = flag.config.data
    dataset = load(scene_config(data), data.digits_dir, flag.data_dir or data.data_dir)
    save_contact_sheet(dataset.train, flag.out)
    logging.info("Wrote %s", flag.out)


if __name__ == "__main__":
    from ml_collections import config_flags

    from data_gen import multi_mnist  # TFDS looks a builder's package up, and __main__ has none

    config_flags.DEFINE_config_file("config", None, "Configuration with a `data` section.")
    flags.DEFINE_string("data_dir", "", "Where scenes are kept; overrides config.data.data_dir.")
    flags.DEFINE_string("out", "contact_sheet.png", "The picture to write.")
    flags.mark_flag_as_required("config")
    app.run(multi_mnist.main)
