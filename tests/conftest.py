"""What all tests share: an installation of their own, so that none signs in the name of who runs them."""

import os

import pytest


@pytest.fixture(scope="session", autouse=True)
def own_home(tmp_path_factory):
    """Subprocesses get it too."""
    before = os.environ.get("WORLDTUBE_HOME")
    os.environ["WORLDTUBE_HOME"] = str(tmp_path_factory.mktemp("home"))
    yield
    os.environ.pop("WORLDTUBE_HOME")
    if before is not None:
        os.environ["WORLDTUBE_HOME"] = before
