"""Installs `asr_jax` and `data_gen`, and the commands: asr-overlap, asr-number, ...

Experiments and configs are packages of a clone. Installed they lie in a folder of their own, which
the commands know: see `experiments/run/console.py`.
"""

import re
from pathlib import Path

from setuptools import find_namespace_packages, find_packages, setup

VERSION = re.search(r'^__version__ = "(.+)"$', Path("asr_jax/__init__.py").read_text(), re.M)[1]
COMMANDS = [file.stem for file in sorted(Path("experiments").glob("[!_]*.py"))]
INSIDE = "asr_jax_commands"  # where they are installed

DOCS = ["furo", "myst-parser", "sphinx"]
NOTEBOOKS = ["ipykernel", "nbmake"]
# The TPU's compiler, 0.2 GB: it needs no TPU.
COMPILER = ["jax[tpu]; sys_platform == 'linux' and platform_machine == 'x86_64'"]

setup(
    name="asr-jax",
    version=VERSION,
    description="Amortized Structural Regularization for multi-object image models, in JAX",
    long_description=open("README.md", encoding="utf-8").read(),
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    python_requires=">=3.11",
    packages=[
        *find_packages(include=["asr_jax", "asr_jax.*", "data_gen", "data_gen.*"]),
        *(
            f"{INSIDE}.{name}"
            for name in find_namespace_packages(include=["configs", "experiments", "experiments.*"])
        ),
    ],
    package_dir={f"{INSIDE}.{name}": name for name in ("configs", "experiments")},
    package_data={
        "asr_jax": ["weights/*"],
        "data_gen": ["data/*.npz", "data/README.md"],
        f"{INSIDE}.experiments.results": ["page.md"],
    },
    entry_points={
        "console_scripts": [
            f"asr-{name} = {INSIDE}.experiments.run.console:main" for name in COMMANDS
        ]
    },
    install_requires=[
        "absl-py",
        "array_record",  # the file format of the scenes; no TensorFlow needed
        "distrax",
        "filelock",
        "flax",
        "importlib_resources",  # tensorflow-datasets needs it, and does not ask for it
        "jax>=0.10",
        "jaxlib",
        "matplotlib",
        "ml_collections",
        "numpy",
        "optax",
        "orbax-checkpoint",
        "pillow",
        "tensorboardX",
        "tensorflow-datasets",
        "tqdm",
    ],
    extras_require={
        "test": [
            *("hypothesis", "pytest", "pytest-xdist", "ruff", "scipy"),
            *("pycocotools", "scikit-learn"),  # what ours is compared with
            "setuptools>=70.1",  # builds a wheel by itself
            *(*COMPILER, *DOCS, *NOTEBOOKS),
        ],
        "notebook": ["jupyterlab"],
        "docs": DOCS,
        "tfds": ["tensorflow"],  # only for TFDS's own data sets
        "cuda": ["jax[cuda13]"],
        "tpu": ["jax[tpu]"],
    },
)
