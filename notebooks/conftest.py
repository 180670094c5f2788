"""The tests run the notebooks on the CPU, with few steps of training and the embedded digits."""

import os

os.environ.setdefault("ASR_NOTEBOOK_STEPS", "10")
os.environ.setdefault("JAX_PLATFORMS", "cpu")
os.environ["ASR_MNIST_DIR"] = "embedded"
