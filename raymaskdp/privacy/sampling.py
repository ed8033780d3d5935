"""The random choice of the records of each step."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import numpy as np
import numpy.typing as npt

from raymaskdp import check
from raymaskdp.privacy.keys import Key


@dataclass(frozen=True, kw_only=True)
class PoissonSampling:
    """Lots in which every record takes part independently with the same probability.

    Attributes (public):
      rate: probability q in (0, 1] that a record is in a lot.

    The lot of a step depends on (key, stream, step) alone, so it is the same however many workers share
    it, and after a restart.
    """

    rate: Annotated[float, check.Range(0, 1, open_low=True)]

    def __post_init__(self) -> None:
        check.fields(self)

    def lot(self, *, num_records: int, key: Key, step: int, stream: str) -> npt.NDArray[np.int64]:
        """Indices of the records in the lot of `step`, sorted, shape [n]; n may be 0.

        Formal guarantee: a binomial size and then a uniform subset of that size is the law of
        `num_records` independent Bernoulli(q) inclusions.
        """
        generator = key.stream(stream, step)
        size = int(generator.binomial(num_records, self.rate))
        return np.sort(generator.choice(num_records, size=size, replace=False)).astype(np.int64)


def share(lot: npt.NDArray[np.int64], rank: int, world_size: int) -> npt.NDArray[np.int64]:
    """The part of a lot that worker `rank` of `world_size` computes. It may be empty; together the parts are
    the lot.
    """
    check.in_range("rank", rank, low=0, high=world_size - 1)
    return lot[rank::world_size]
