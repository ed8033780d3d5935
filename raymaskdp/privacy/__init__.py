"""Differential privacy for records made of many clips: exact, fast, and independent of video.

One step of training, as every trainer writes it:

    plan = PrivacyPlan.calibrate(
        mechanism="maskdp", num_records=9537, expected_batch=256, clips=4, epochs=50,
        delta=1e-5, epsilon=5.0, clipping_norm=1.0, adjacency="zero-out",
    )
    key = Key.draw()                                  # 32 random bytes; keep it secret
    engine = GradientEngine(model, plan)              # refuses by name what it cannot do exactly
    ledger = Ledger.open("ledger.jsonl", plan=plan, key=key, fingerprint=dataset_sha256)

    key = ledger.key                                  # a new one if repeated steps may differ

    lot = plan.lot(key, step)                         # int64 [n], sorted, maybe empty; same for all workers
    mine = share(lot, rank, world_size)               # this worker's part, maybe empty
    total = engine.zero_sum()
    for records in micro_batches(mine):
        with engine.record(num_records=len(records)):           # n records, plan.num_views views each
            losses = cross_entropy(model(views), labels, reduction="none")   # [n * V], record-major
            total += engine.clipped_sum(losses, clip_weights_NK)             # weights optional
    for gradient in total.gradients.values():
        all_reduce(gradient)                          # clipped sums add up over workers
    ledger.write_ahead(step)                          # fsynced before anything of this step is released
    update = plan.private_update(total, key, step)    # {name: (sum + noise) / expected batch}

Views of a record, in this order: its K clips, then (masked mechanisms) the K public views of the same
clips: `[clip_1 … clip_K, public_1 … public_K]`; `plan.num_views` is K or 2K. `clip_weights_NK` (≥ 0,
rows summing to at most 1; default 1/K) serves records with fewer clips and subjects with several
videos, and a weight of 0 for a clip that equals its public view makes the residual exactly zero
(`changed_clips(clips, public)` finds those). The public branch of a masked mechanism is ordinary autograd:
the mean loss of the public views of `plan.public_lot(key, step)`, summed over records and multiplied by
`plan.public_scale` = λ / (q′N).

A record whose gradient is not finite contributes zero and is counted in `ClippedSum.num_bad`, a private
number: show it to the operator only, and do not log it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from raymaskdp import imported_on_use

if TYPE_CHECKING:
    from raymaskdp.privacy.keys import Key
    from raymaskdp.privacy.ledger import Ledger, LedgerContent, read_ledger
    from raymaskdp.privacy.per_record.changed_clips import changed_clips
    from raymaskdp.privacy.per_record.clipped_sum import ClippedSum
    from raymaskdp.privacy.per_record.engine import GradientEngine
    from raymaskdp.privacy.plan import PrivacyPlan
    from raymaskdp.privacy.sampling import share

__all__ = [
    "ClippedSum",
    "GradientEngine",
    "Key",
    "Ledger",
    "LedgerContent",
    "PrivacyPlan",
    "changed_clips",
    "read_ledger",
    "share",
]

__getattr__ = imported_on_use(
    __name__,
    {
        "ClippedSum": "per_record.clipped_sum",
        "GradientEngine": "per_record.engine",
        "Key": "keys",
        "Ledger": "ledger",
        "LedgerContent": "ledger",
        "PrivacyPlan": "plan",
        "changed_clips": "per_record.changed_clips",
        "read_ledger": "ledger",
        "share": "sampling",
    },
)
