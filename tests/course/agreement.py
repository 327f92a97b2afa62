"""The numbers of the exercises stand in one data file; here a computed value is compared with them."""

import numpy as np
import pytest

from tinygrad_vi.course.texts import find


def agrees(name, computed, rel=0.0, abs=1e-9):
    """Assert that what was computed is the answer in the data: "B07.v0"; numbers to 1e-9, words and shapes exactly."""
    _, part = find(name)
    if part.between is not None:
        low, high = part.between
        assert low <= computed <= high
    elif isinstance(part.answer, (str, bool)) or any(isinstance(x, str) for x in np.ravel(part.answer).tolist()):
        assert computed == part.answer
    else:
        assert np.shape(computed) == np.shape(part.answer)
        assert np.array(computed, float) == pytest.approx(np.array(part.answer, float), rel=rel, abs=abs)
