"""Installs `asr_jax` and `data_gen`; experiments and configs run from a clone."""

from setuptools import find_packages, setup

DOCS = ["furo", "myst-parser", "sphinx"]
NOTEBOOKS = ["ipykernel", "nbmake"]
# The TPU's compiler, 0.2 GB: it needs no TPU.
COMPILER = ["jax[tpu]; sys_platform == 'linux' and platform_machine == 'x86_64'"]

setup(
    name="asr-jax",
    version="0.1.0",
    description="Amortized Structural Regularization for multi-object image models, in JAX",
    long_description=open("README.md", encoding="utf-8").read(),
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    python_requires=">=3.11",
    packages=find_packages(include=["asr_jax", "asr_jax.*", "data_gen", "data_gen.*"]),
    package_data={
        "asr_jax": ["weights/*"],
        "data_gen": ["data/*.npz", "data/README.md"],
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
            *("hypothesis", "pycocotools", "pytest", "pytest-xdist", "ruff", "scipy"),
            *(*COMPILER, *DOCS, *NOTEBOOKS),
        ],
        "notebook": ["jupyterlab"],
        "docs": DOCS,
        "tfds": ["tensorflow"],  # only for TFDS's own data sets
        "cuda": ["jax[cuda13]"],
        "tpu": ["jax[tpu]"],
    },
)
