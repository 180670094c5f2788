"""What the runs of all files share."""

import pytest


@pytest.fixture(scope="session")
def shared(tmp_path_factory):
    """A folder for scenes: each is built once."""
    return tmp_path_factory.mktemp("shared")
