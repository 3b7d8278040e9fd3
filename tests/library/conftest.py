"""Indexes that the tests of this folder share; nobody changes them."""

from __future__ import annotations

import pytest

from tests.library.samples import LAYOUTS, Sample, Samples


@pytest.fixture(scope="session")
def samples(tmp_path_factory: pytest.TempPathFactory) -> Samples:
    """Any kind of index, built when first asked for."""
    return Samples(tmp_path_factory.mktemp("library"))


@pytest.fixture(params=LAYOUTS)
def layout(request: pytest.FixtureRequest, samples: Samples) -> Sample:
    """Each layout on disk in turn."""
    return samples(LAYOUTS[request.param])
