"""What the runs of all files share."""

import pytest

from tests.end_to_end.runs import Warm


@pytest.fixture(scope="session")
def shared(tmp_path_factory):
    """A process for most of the runs, and a folder for scenes: each is built once."""
    process = Warm(tmp_path_factory.mktemp("shared"))
    yield process
    process.close()
