"""What tests of the oracle share."""

from collections.abc import Iterator

import pytest


@pytest.fixture(autouse=True, scope="module")
def _quickly() -> Iterator[None]:
    """Fit one surrogate and look at few candidates: these tests are about what is run when."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("corpuscle.oracle.history.SURROGATES", ("additive_powers",))
        for name, number in (("N_WIDE", 300), ("N_NEAR", 150), ("N_DRAWN", 60)):
            patch.setattr(f"corpuscle.mixture.candidates.{name}", number)
        yield
