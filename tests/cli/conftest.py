"""Logging is left as it was found."""

import pytest
import structlog


@pytest.fixture(autouse=True)
def restored_logging():
    before = structlog.get_config()
    yield
    structlog.configure(**before)
