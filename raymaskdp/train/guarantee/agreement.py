"""Workers compare their data before the first step: a worker with other data must not take part.

Two machines whose run folders are not the same folder would draw lots and noise from different keys, and
finish: the sum would have noise of each, and the ledger would describe neither.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from raymaskdp.errors import UserError
from raymaskdp.train.run.job import Worker

BYTES = 12
"""Of the digest of a fact; digests are compared, never facts."""


def require_agreement(facts: Mapping[str, str | None], worker: Worker) -> None:
    """Raise `UserError`, in all workers, unless all of them have all facts, with the same values.

    Args:
      facts: by their names in the message, the same names in all workers; None if a worker has
        none. At most their digests leave the worker.
    """
    world_size = worker.world_size
    seen = _digests(list(facts.values()), worker)
    for place, name in enumerate(facts):
        missing = [worker for worker in range(world_size) if not seen[worker, place, 0]]
        if missing:
            raise UserError(
                f"{_workers(missing)} cannot see {name}; give an out that is one folder for all workers and "
                "for the command that starts them."
            )
        others = [
            worker for worker in range(world_size) if not torch.equal(seen[worker, place], seen[0, place])
        ]
        if others:
            raise UserError(
                f"{_workers(others)} does not have {name} of worker 0; give an out and data that are the "
                "same folders for all workers, and the same version of everything."
            )


def digest_of_all(value: str, worker: Worker) -> str:
    """A digest (hex) of all workers' values, in their order: it changes if one value changes."""
    seen = _digests([value], worker)
    return hashlib.blake2b(bytes(seen.to(torch.uint8).flatten().tolist()), digest_size=BYTES).hexdigest()


def share_from_first(values: Sequence[int] | None, count: int, worker: Worker) -> list[int]:
    """The first worker's values, in all workers: `count` integers from 0 to 2²⁴; the others give None."""
    said = torch.zeros(count) if values is None else torch.tensor(values, dtype=torch.float32)
    return [int(value) for value in _summed(said, worker).tolist()]


def _digests(values: Sequence[str | None], worker: Worker) -> Tensor:
    """Of each worker's values, as bytes [workers, values, BYTES]; zeros for None."""
    seen = torch.zeros(worker.world_size, len(values), BYTES)
    for place, value in enumerate(values):
        if value is not None:
            digest = hashlib.blake2b(value.encode(), digest_size=BYTES - 1).digest()
            seen[worker.rank, place] = torch.tensor([1, *digest], dtype=seen.dtype)
    return _summed(seen, worker)


def _summed(values: Tensor, worker: Worker) -> Tensor:
    if worker.world_size == 1:
        return values
    there = values.to(worker.device)
    worker.all_reduce(there)
    return there.cpu()


def _workers(numbers: Sequence[int]) -> str:
    return (
        f"Worker {numbers[0]}" if len(numbers) == 1 else f"Each of the workers {', '.join(map(str, numbers))}"
    )
