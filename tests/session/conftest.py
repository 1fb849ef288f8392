"""Sessions on small images, answered without a network."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from tests.session.fakes import FakePredictor

from napari_clickseg.session import ClickSession


@pytest.fixture
def fake() -> FakePredictor:
    """A predictor without a network."""
    return FakePredictor()


@pytest.fixture
def session(fake: FakePredictor) -> ClickSession:
    """A session on a small image, answered by ``fake``."""
    session = ClickSession(predictor=fake)
    session.set_image(np.arange(40 * 50, dtype=np.uint16).reshape(40, 50))
    return session


@pytest.fixture
def make_session() -> Callable[..., ClickSession]:
    """Make further sessions on an image of a given shape."""

    def make(shape: tuple[int, int] = (40, 50), **options: Any) -> ClickSession:
        session = ClickSession(predictor=FakePredictor(), **options)
        session.set_image(np.zeros(shape, np.uint8))
        return session

    return make
