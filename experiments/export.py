"""Makes a finished run's parameters part of the package, for `asr_jax.load_pretrained`.

    python -m experiments.export --workdir=runs/mnist3-asr-seed0 --name=mnist3

They are rounded to half precision, and measured again as they will be loaded.
"""

from absl import flags

from asr_jax import pretrained
from data_gen.paths import output
from experiments.run import finished, printed, workdir
from experiments.run.main import main

WORKDIR = flags.DEFINE_string("workdir", None, "A finished run; of several seeds, one's folder.")
NAME = flags.DEFINE_string("name", None, "What load_pretrained calls it.")
FOLDER = flags.DEFINE_string("folder", str(pretrained.FOLDER), "Where it goes.")
flags.mark_flags_as_required(["workdir", "name"])


def export(_) -> None:
    out = output(f"{FOLDER.value}/{NAME.value}.npz", "--folder and --name")
    if out.stem != NAME.value:
        raise ValueError(f"--name must be the name of a file, got {NAME.value!r}")
    folder = finished.one(WORKDIR.value)
    one = finished.load(folder)
    params = pretrained.half_precision(one.params)
    final = finished.measured(one._replace(params=params))
    config = workdir.portable_config(workdir.read_config(folder))
    kept = pretrained.Pretrained(one.run.model, params, config, workdir.portable(final))
    pretrained.save_pretrained(NAME.value, kept, out.parent)
    rows = {"single precision": printed.cells(one.final), "as kept": printed.cells(kept.final)}
    print(printed.columns(rows))
    size = out.stat().st_size / 2**20
    print(f"Wrote {NAME.value}.npz ({size:.1f} MiB) and {NAME.value}.json to {out.parent}")


if __name__ == "__main__":
    main(export)
