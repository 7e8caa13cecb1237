"""One processed field, shared by many tests; nobody changes it."""

import pytest

from .fields import process, simulated_field


@pytest.fixture(scope="package")
def field():
    return simulated_field(seed=3, size=512)


@pytest.fixture(scope="package")
def result(field):
    return process(field)


@pytest.fixture(scope="package")
def small():
    return simulated_field(seed=8, size=320)


@pytest.fixture(scope="package")
def small_result(small):
    return process(small)
