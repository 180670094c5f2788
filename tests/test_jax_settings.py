"""JAX's own settings: where programs are kept, and how exactly matrices are multiplied."""

import jax
import pytest

from experiments.run import jax_settings


@pytest.fixture(autouse=True)
def as_it_was():
    """What JAX is told here is forgotten afterwards."""
    names = ("compilation_cache_dir", "compilation_cache_max_size", "default_matmul_precision")
    names += ("persistent_cache_min_compile_time_secs",)
    before = {f"jax_{name}": getattr(jax.config, f"jax_{name}") for name in names}
    yield
    for name, value in before.items():
        jax.config.update(name, value)


def test_programs_lie_beside_the_scenes_in_a_folder_of_this_processor(tmp_path, monkeypatch):
    monkeypatch.delenv("JAX_COMPILATION_CACHE_DIR", raising=False)
    monkeypatch.setenv("ASR_DATA_DIR", str(tmp_path))
    jax_settings.keep_programs()
    expected = tmp_path / f"programs-{jax_settings.processor()}"
    assert jax.config.jax_compilation_cache_dir == str(expected)


def test_the_users_own_folder_of_programs_stays(tmp_path, monkeypatch):
    monkeypatch.setenv("JAX_COMPILATION_CACHE_DIR", str(tmp_path / "own"))
    before = jax.config.jax_compilation_cache_dir
    jax_settings.keep_programs()
    assert jax.config.jax_compilation_cache_dir == before


@pytest.mark.parametrize(
    "name, message",
    [
        ("half", "train.matmul_precision must be one of float32, tensorfloat32, bfloat16"),
        (
            "bfloat16",
            "a CPU multiplies in float32 only, got config.train.matmul_precision='bfloat16'",
        ),
    ],
)
def test_a_precision_that_there_is_not_or_that_is_ignored_is_refused(name, message):
    with pytest.raises(ValueError, match=message):
        jax_settings.set_precision(name)
