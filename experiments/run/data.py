"""The scenes of a run: which they are, loaded, and checked against the rest of it."""

from __future__ import annotations

import dataclasses
import hashlib
import warnings
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import numpy as np

from asr_jax import parallel
from data_gen import builder, multi_dsprites, multi_mnist, scene_config, user_scenes
from data_gen.scenes import Scenes

if TYPE_CHECKING:
    from experiments.run.from_config import Run

OBJECTS = {"mnist": multi_mnist, "dsprites": multi_dsprites}  # data.objects
# Fields that describe scenes to generate; scenes of one's own are what they are.
GENERATED = (
    *("objects", "counts", "canvas", "layout", "scale", "shapes", "train_size", "digits_dir"),
    *("min_visible", "scales", "colours", "background", "contrast"),
)


@dataclasses.dataclass(frozen=True)
class DataConfig:
    """Which scenes a run sees."""

    path: str  # images of one's own; empty: the scenes described by the next
    size: tuple[int, int] | tuple[()]  # that pictures of one's own are resized to
    colour: str  # whether those are in colour: "yes", "no", "auto"
    objects: str  # what is on generated scenes, and which those are
    scenes: scene_config.SceneConfig | None
    canvas: tuple[int, int]  # (H, W) in pixels
    test_size: int
    seed: int
    split: str
    placement: str
    digits_dir: str
    data_dir: str

    @classmethod
    def from_settings(cls, settings: Mapping[str, Any], canvas: tuple[int, int] | None):
        """From `config.data`; the canvas is looked up, in settings or file, unless it is given.

        Raises:
          ValueError: a setting that breaks its rule.
          OSError: a file that cannot be read.
        """
        if settings.split not in ("test", "validation"):
            raise ValueError(
                f"config.data.split must be test or validation, got {settings.split!r}"
            )
        if settings.placement not in parallel.PLACEMENTS:
            raise ValueError(
                f"config.data.placement must be one of {', '.join(parallel.PLACEMENTS)}, got "
                f"{settings.placement!r}"
            )
        if settings.objects not in OBJECTS:
            raise ValueError(
                f"config.data.objects must be one of {', '.join(OBJECTS)}, got "
                f"{settings.objects!r}: name one, or set config.data.path for scenes of your own"
            )
        scenes = None
        if settings.path:
            own = settings.path, settings.size, settings.colour
            canvas = canvas or user_scenes.find(*own).canvas
        else:
            scenes = scene_config.read(OBJECTS[settings.objects].SceneConfig, settings)
            canvas = (scenes.canvas, scenes.canvas)
        names = ("path", "objects", "test_size", "seed", "split", "placement", "digits_dir")
        return cls(
            scenes=scenes,
            canvas=canvas,
            size=tuple(settings.size),
            colour=settings.colour,
            **{name: settings[name] for name in (*names, "data_dir")},
        )


class Data(NamedTuple):
    """Scenes in memory."""

    train: Scenes
    test: Scenes  # or the validation scenes
    source: str
    train_size: int  # of the whole run; `train` may be this process's share

    def facts(self, sharded: bool) -> dict:
        """What a run that goes on must find again; JSON.

        A hash of all images: the same settings give other scenes where other digits lie. Of
        training scenes that no process has all of, it knows nothing; who sees which depends on
        the number of devices then.
        """
        digest = hashlib.sha256()
        for scenes in (self.test,) if sharded else (self.train, self.test):
            digest.update(np.ascontiguousarray(scenes.image))
        facts = {"scenes": digest.hexdigest()[:16], "canvas": list(self.test.image.shape[1:3])}
        return facts | ({"devices": jax.device_count()} if sharded else {})


def load(config: DataConfig) -> Data:
    """The scenes, built on first use.

    Raises:
      ValueError: bad files, or layouts that do not fit.
      OSError: a file or folder that cannot be read or written.
    """
    rows = parallel.own_rows if config.placement == "sharded" else None
    validation = config.split == "validation"
    if config.path:
        scenes = user_scenes.load(config.path, config.size, config.colour)
        train, test = user_scenes.split(scenes, config.test_size, config.seed)
        source = config.path
        print(f"{source}: {', '.join(f'data.{name}' for name in GENERATED)} are not looked at")
    else:
        early = None if validation else rows  # scenes to hold out are drawn from all of them
        train, test, source = _generated(config, early)
    if validation:
        train, test = user_scenes.split(train, len(test.image), config.seed)
    size = len(train.image)
    if rows and (config.path or validation):
        train = Scenes(*(None if field is None else field[rows(size)] for field in train))
    elif rows:
        size = config.scenes.train_size
    if len(test.image) < 2:
        raise ValueError(
            f"a standard error needs at least 2 {config.split} scenes, got {len(test.image)}: "
            "set config.data.test_size=2 or more"
        )
    return Data(train, test, source, size)


def _generated(config: DataConfig, rows: builder.Rows) -> builder.Dataset:
    folders = {"digits_dir": config.digits_dir, "data_dir": config.data_dir}
    return OBJECTS[config.objects].from_config(dataclasses.asdict(config.scenes) | folders, rows)


def check(run: Run, data: Data) -> int:
    """Makes sure that run and scenes fit each other, and returns the run's steps.

    Warns of what is allowed and probably not meant.

    Raises:
      ValueError: a batch larger than the data, or that the devices cannot share; more objects than
        the model has steps, or another number than the one that is known.
    """
    batch = run.train.batch_size
    if batch > data.train_size:
        raise ValueError(
            f"config.train.batch_size={batch} is larger than the {data.train_size} training "
            "scenes: set config.train.batch_size to that or less"
        )
    try:
        parallel.check(run.train.parallel, batch, jax.device_count(), run.data.placement)
    except ValueError as error:
        raise ValueError(f"config.train.{error}") from error
    for scenes in (data.train, data.test):
        _check_colour(run, scenes)
        _check_counts(run, scenes)
    if run.data.path:
        run.model.warn_of_background(data.train.image, run.data.path)
    known = data.train.count is not None and (data.train.count >= 0).any()
    if not known and any(c.name == "counted" for c in run.constraints):
        raise ValueError(
            "config.constraints.tolerances.counted is for training scenes of which some counts are "
            "known, got none: count more images, as some are held out, or give no counts"
        )
    _warn_of_counts(run, data.train)
    return run.train.steps(data.train_size)


def _check_colour(run: Run, scenes: Scenes) -> None:
    channels = 1 if scenes.image.ndim == 3 else scenes.image.shape[3]
    if channels != run.model.config.channels:
        raise ValueError(
            f"config.model.channels must be that of the images, {channels}, got "
            f"{run.model.config.channels}: set config.model.channels={channels}"
        )
    behind = "black" if run.data.scenes is None else run.data.scenes.background
    if behind != "black" and run.model.config.background == "black":
        raise ValueError(
            f"config.data.background={behind} needs a model with a background, got "
            "config.model.background=black: set it colour or image, and "
            "config.model.compositing=over"
        )


def _check_counts(run: Run, scenes: Scenes) -> None:
    if scenes.count is None:
        return
    known, counts = run.model.config.count, np.unique(scenes.count[scenes.count >= 0]).tolist()
    largest = max(counts, default=0)
    if largest > run.model.config.max_objects:
        raise ValueError(
            f"K must be at least max(counts)={largest}, got {run.model.config.max_objects}: set "
            f"config.model.max_objects={largest} or more"
        )
    if known is not None and set(counts) - {known}:
        raise ValueError(
            f"config.model.count={known} says that every scene has {known} objects, got counts "
            f"{counts}: set config.model.count=-1 to infer them"
        )


def _warn_of_counts(run: Run, scenes: Scenes) -> None:
    """The possible counts that a constraint or prior knows, against those of the scenes."""
    possible, field = run.model.config.possible_counts, "config.model.possible_counts"
    for constraint in run.constraints:
        if constraint.name in ("possible", "number", "balance"):
            possible, field = constraint.functional.counts, "config.constraints.counts"
    if not possible or scenes.count is None:
        return
    values, images = np.unique(scenes.count[scenes.count >= 0], return_counts=True)
    strange = {int(n): int(k) for n, k in zip(values, images, strict=True) if n not in possible}
    found = ", ".join(f"{k} with {n}" for n, k in strange.items())
    all_known = (scenes.count >= 0).all()
    missing = sorted(set(possible) - set(values.tolist())) if all_known else []
    if strange:
        warnings.warn(
            f"{field}={sorted(possible)} leaves out counts of the training scenes ({found}): they "
            "will be pulled to another count",
            stacklevel=2,
        )
    if missing:
        warnings.warn(
            f"{field}={sorted(possible)} names {missing}, which no training scene has: images "
            "will be forced there",
            stacklevel=2,
        )
