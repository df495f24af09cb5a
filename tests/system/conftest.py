"""A folder of claims of its own."""

from __future__ import annotations

import pytest

from gpuops.system import claims


@pytest.fixture(name="place")
def _place(tmp_path, monkeypatch):
    """A folder of claims of this test's own."""
    place = tmp_path / "claims"
    monkeypatch.setenv(claims.VARIABLE, str(place))
    return place
