"""What Multi-MNIST and Multi-dSprites share: scenes of sprites, built once with TFDS and kept.

Sprites come from `multi_mnist` and `multi_dsprites`, placement from `scenes`.
"""

import contextlib
import dataclasses
import hashlib
import io
import json
import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import filelock
import numpy as np
import tensorflow_datasets as tfds
from absl import logging
from tqdm import tqdm

from data_gen import scenes
from data_gen.paths import user_path
from data_gen.scenes import Scenes, Sprites

SPLITS = ("train", "test")
# Of how many scenes, which to read; None: all.
Rows = Callable[[int], slice] | None
MAX_COUNT = 100  # objects in a scene: what there are of pairs is checked one by one
MAX_BYTES = 2**40  # of all scenes; what a host reads of them, it holds in memory


@dataclasses.dataclass(frozen=True)
class SceneConfig:
    """What the scenes are; equal configs and equal sprites give equal bytes.

    Raises ValueError for a value out of its range.
    """

    canvas: int = 50  # side of the image, pixels
    counts: tuple[int, ...] = (3,)  # numbers of objects, each in an equal share of the scenes
    layout: str = "disjoint"  # a key of scenes.LAYOUTS
    scale: float = 0.6  # 1.0 keeps the sprites' own size
    train_size: int = 20_000  # scenes
    test_size: int = 1_000
    seed: int = 0

    def __post_init__(self):
        if not isinstance(self.counts, tuple) or not all(isinstance(n, int) for n in self.counts):
            refuse("counts", "be a tuple of whole numbers, such as (1, 3)", self.counts)
        if not self.counts or min(self.counts) < 0 or max(self.counts) < 1:
            refuse("counts", "name counts of 0 or more, one of them at least 1", self.counts)
        if max(self.counts) > MAX_COUNT:
            refuse("counts", f"name counts of at most {MAX_COUNT}", self.counts)
        if len(set(self.counts)) < len(self.counts):
            refuse("counts", "name each count once", self.counts)
        if self.layout not in scenes.LAYOUTS:
            refuse("layout", f"be one of {', '.join(scenes.LAYOUTS)}", self.layout)
        if not self.scale > 0:
            refuse("scale", "be above 0", self.scale)
        if self.scale > 1e6:
            refuse("scale", "be at most 1e6", self.scale)
        for name in ("canvas", "train_size", "test_size"):
            if getattr(self, name) < 1:
                refuse(name, "be at least 1", getattr(self, name))
        size = (self.train_size + self.test_size) * self.canvas**2
        if size > MAX_BYTES:
            rule = f"leave all scenes, with test_size and canvas, {MAX_BYTES} pixels, not {size}"
            refuse("train_size", rule, self.train_size)
        if self.seed < 0:
            refuse("seed", "be at least 0", self.seed)


class Dataset(NamedTuple):
    train: Scenes
    test: Scenes
    source: str  # for people: where the sprites came from


def refuse(name: str, rule: str, value: object) -> None:
    """Raises ValueError for a setting of `config.data`."""
    raise ValueError(f"{name} must {rule}, got {value}: set config.data.{name}")


def scene_config(kind: type[SceneConfig], data: Mapping[str, Any]) -> SceneConfig:
    """Returns the part of `config.data` that describes scenes, as a `kind`."""
    settings = {field.name: data[field.name] for field in dataclasses.fields(kind)}
    lists = {name: tuple(value) for name, value in settings.items() if isinstance(value, list)}
    return kind(**settings | lists)


def generate(config: SceneConfig, sprites: Sprites, split: str) -> Iterator[dict]:
    """Yields the scenes of one split as dicts, with `row` in `sprites` for every object, or -1."""
    size = getattr(config, f"{split}_size")
    rng = np.random.Generator(np.random.PCG64([config.seed, SPLITS.index(split)]))
    counts = np.resize(np.array(config.counts, np.int32), size)  # equal shares, to within one
    counts = counts[np.argsort(rng.random(size), kind="stable")]
    slots = max(config.counts)
    for count in counts:
        rows = rng.integers(len(sprites.labels), size=count, dtype=np.int64)
        drawn = [sprites.draw(row) for row in rows]
        xy = scenes.place(rng, drawn, config.canvas, config.layout)
        image, box = scenes.render(drawn, xy, config.canvas)
        absent = slots - count
        facts = {name: np.pad(values[rows], (0, absent)) for name, values in sprites.facts.items()}
        yield facts | {
            "image": image,
            "count": count,
            "box": np.pad(box, ((0, absent), (0, 0))),
            "label": np.pad(sprites.labels[rows], (0, absent), constant_values=-1),
            "row": np.pad(rows.astype(np.int32), (0, absent), constant_values=-1),
        }


@dataclasses.dataclass(kw_only=True)
class SceneBuilderConfig(tfds.core.BuilderConfig):
    scenes: SceneConfig
    sprites: dict[str, Sprites] = dataclasses.field(repr=False)


class SceneBuilder(tfds.core.GeneratorBasedBuilder, skip_registration=True):
    """The TFDS builder; a data set gives it a VERSION and a TITLE. `load` is the usual way in."""

    # Raised whenever the same settings begin to give other scenes, or other arrays: a cache of
    # another version is not read. 1.1.0: images lost their channel axis.
    VERSION: tfds.core.Version
    TITLE: str

    def _info(self) -> tfds.core.DatasetInfo:
        config = self.builder_config.scenes
        slots = max(config.counts)
        features = {
            "image": tfds.features.Tensor(
                shape=(config.canvas, config.canvas), dtype=np.uint8, encoding="zlib"
            ),
            "count": tfds.features.Tensor(shape=(), dtype=np.int32),
            "box": tfds.features.Tensor(shape=(slots, 4), dtype=np.float32),
            "label": tfds.features.Tensor(shape=(slots,), dtype=np.int32),
            "row": tfds.features.Tensor(shape=(slots,), dtype=np.int32),
        }
        for name in self.builder_config.sprites["train"].facts:
            features[name] = tfds.features.Tensor(shape=(slots,), dtype=np.float32)
        return self.dataset_info_from_configs(
            description=f"{self.TITLE}: scenes of several objects, with their boxes.",
            features=tfds.features.FeaturesDict(features),
            disable_shuffling=True,  # the scenes are already in random order
        )

    def _split_generators(self, dl_manager) -> dict:
        return {split: self._generate_examples(split) for split in SPLITS}

    def _generate_examples(self, split: str) -> Iterator[tuple[int, dict]]:
        config = self.builder_config
        examples = generate(config.scenes, config.sprites[split], split)
        size = getattr(config.scenes, f"{split}_size")
        yield from enumerate(tqdm(examples, f"{self.TITLE} {split}", size, unit=" scenes"))


def fingerprint(kind: type[SceneBuilder], config: SceneConfig, sprites: dict[str, Sprites]) -> str:
    """Returns a readable name for these scenes, with a hash of all that decides their bytes."""
    facts = dataclasses.asdict(config) | {"scale": float(config.scale)}
    facts |= {split: sprites[split].sha256 for split in SPLITS} | {"version": str(kind.VERSION)}
    digest = hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()
    counts = "-".join(map(str, config.counts))
    return f"{config.layout}_count{counts}_canvas{config.canvas}_seed{config.seed}_{digest[:12]}"


def load(
    kind: type[SceneBuilder],
    config: SceneConfig,
    sprites: dict[str, Sprites],
    data_dir: str = "",
    rows: Rows = None,
) -> Dataset:
    """Returns the scenes that `config` describes, from disk if they were built before.

    Args:
      kind: which data set.
      config: what the scenes are.
      sprites: of each split.
      data_dir: where the scenes are kept; if empty: ASR_DATA_DIR, else ~/.cache/asr_jax. Processes
        that share it build them once: the others wait.
      rows: which of the training scenes to read, given how many there are; None: all.

    Raises:
      ValueError: for a layout that does not fit, a damaged cache, or what `user_path` raises.
    """
    source = " and ".join(dict.fromkeys(sprites[split].source for split in SPLITS))
    folder = cache_folder(data_dir)
    name = fingerprint(kind, config, sprites)
    logging.info("Objects: %s. Scenes: %s in %s", source, name, folder)
    with _quiet_tfds():
        settings = SceneBuilderConfig(name=name, scenes=config, sprites=sprites)
        builder = _prepared(kind, settings, folder)
        train = _read(builder, "train", sprites["train"], rows)
        return Dataset(train, _read(builder, "test", sprites["test"]), source)


def cache_folder(data_dir: str = "") -> Path:
    """Where built things are kept: data_dir, else ASR_DATA_DIR, else ~/.cache/asr_jax.

    Raises what `user_path` raises.
    """
    variable = os.environ.get("ASR_DATA_DIR")
    if variable and not data_dir:
        return user_path(variable, "ASR_DATA_DIR")
    return user_path(data_dir or "~/.cache/asr_jax", "config.data.data_dir")


def _prepared(kind: type[SceneBuilder], config: SceneBuilderConfig, folder: Path) -> SceneBuilder:
    def builder() -> SceneBuilder:
        return kind(config=config, data_dir=folder, file_format="array_record")

    ready = builder()
    if ready.is_prepared():  # also where nothing can be written
        return ready
    folder.mkdir(parents=True, exist_ok=True)
    # The system frees the lock of a process that was killed.
    with filelock.FileLock(folder / f"{config.name}.lock"):
        first = builder()
        # Written to a temporary folder that is renamed when complete; does nothing if it exists.
        first.download_and_prepare()
        return first


def _read(builder: SceneBuilder, split: str, sprites: Sprites, rows: Rows = None) -> Scenes:
    size = getattr(builder.builder_config.scenes, f"{split}_size")
    some = range(size) if rows is None else range(size)[rows(size)]
    try:
        records = builder.as_data_source(split).__getitems__(some)
    except Exception as error:  # array_record raises bare RuntimeErrors and IndexErrors
        raise ValueError(
            f"the scenes in {builder.data_path} are damaged ({error}): delete that folder, and they"
            " are built again"
        ) from error
    columns = {key: np.stack([record[key] for record in records]) for key in records[0]}
    columns["count"] = columns["count"].astype(np.int32)  # scalars come back as Python's
    row = columns.pop("row")
    source_index = np.where(row < 0, -1, sprites.index[row]).astype(np.int32)
    return Scenes(**columns, source_index=source_index)


@contextlib.contextmanager
def _quiet_tfds() -> Iterator[None]:
    """Hides what TFDS prints, logs and draws; the progress bar of `SceneBuilder` is ours."""
    verbosity = logging.get_verbosity()
    logging.set_verbosity(logging.ERROR)
    tfds.display_progress_bar(False)
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            yield
    finally:
        tfds.display_progress_bar(True)
        logging.set_verbosity(verbosity)
