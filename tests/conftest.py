"""What several test modules share."""

import pytest


@pytest.fixture(scope="session")
def synthesis_cache(tmp_path_factory):
    """A folder for synthesised circuits, so that the tests know each of them after its first use."""
    return tmp_path_factory.mktemp("synthesis")
