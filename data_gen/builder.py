"""What Multi-MNIST and Multi-dSprites share: scenes of sprites, built once with TFDS and kept.

Sprites come from `multi_mnist` and `multi_dsprites`, placement from `scenes`.
"""

import contextlib
import dataclasses
import hashlib
import io
import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import filelock
import numpy as np
import tensorflow_datasets as tfds
from absl import logging
from tqdm import tqdm

from data_gen import colours, scenes
from data_gen.paths import user_path
from data_gen.scene_config import SceneConfig
from data_gen.scenes import Scenes, Sprites

SPLITS = ("train", "test")
# Of how many scenes, which to read; None: all.
Rows = Callable[[int], slice] | None
# Fields that came after caches were built, which lack them: not in a fingerprint by default.
LATER = ("colours", "background", "contrast", "min_visible", "scales")


class Dataset(NamedTuple):
    train: Scenes
    test: Scenes
    source: str  # for people: where the sprites came from


def generate(config: SceneConfig, sprites: Sprites, split: str) -> Iterator[dict]:
    """Yields the scenes of one split as dicts, with `row` in `sprites` for every object, or -1."""
    size = getattr(config, f"{split}_size")
    rng = np.random.Generator(np.random.PCG64([config.seed, SPLITS.index(split)]))
    counts = np.resize(np.array(config.counts, np.int32), size)  # equal shares, to within one
    counts = counts[np.argsort(rng.random(size), kind="stable")]
    slots = max(config.counts)
    min_visible = config.min_visible if config.layout == "occluded" else 0
    for count in counts:
        rows = rng.integers(len(sprites.labels), size=count, dtype=np.int64)
        drawn = [sprites.draw(row) for row in rows]
        xy = scenes.place(rng, drawn, config.canvas, config.layout, min_visible)
        share = scenes.shares(drawn, xy, config.canvas)
        image = colours.paint(rng, share, config.colours, config.background, config.contrast)
        mask = {"mask": scenes.seen(share)} if config.masked else {}
        absent = slots - count
        facts = {name: np.pad(values[rows], (0, absent)) for name, values in sprites.facts.items()}
        yield (
            facts
            | mask
            | {
                "image": image,
                "count": count,
                "box": np.pad(scenes.boxes(drawn, xy), ((0, absent), (0, 0))),
                "label": np.pad(sprites.labels[rows], (0, absent), constant_values=-1),
                "row": np.pad(rows.astype(np.int32), (0, absent), constant_values=-1),
            }
        )


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
        slots, canvas = max(config.counts), (config.canvas, config.canvas)
        pixels = {"image": canvas if config.channels == 1 else (*canvas, config.channels)}
        if config.masked:
            pixels["mask"] = canvas
        features = {
            name: tfds.features.Tensor(shape=shape, dtype=np.uint8, encoding="zlib")
            for name, shape in pixels.items()
        } | {
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
    fields = {field.name: field.default for field in dataclasses.fields(config)}
    facts = dataclasses.asdict(config) | {"scale": float(config.scale)}
    facts = {n: v for n, v in facts.items() if n not in LATER or v != fields[n]}
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
