"""The predictor that the tests of the choice and of the artifact ask."""

import dataclasses

import pytest
from fakes import curve_table

from scalepred.predictor.train import train


@pytest.fixture(scope="session")
def predictor():
    return dataclasses.replace(train(curve_table(24)), facts={"label": "fake"})
