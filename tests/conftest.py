"""Every test starts with structlog as it comes, whatever a command configured before."""

import pytest
import structlog


@pytest.fixture(autouse=True)
def logging_as_it_comes():
    structlog.reset_defaults()
    yield
    structlog.reset_defaults()
