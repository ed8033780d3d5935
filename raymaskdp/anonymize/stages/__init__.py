"""The stages of `anonymize`, as plain classes: one item in, one item out, no Ray.

>>> item = Pending(record=VideoRecord(video_id="a", path="a.mp4"))
>>> Synthesize(config, job)(Analyze(config, job)(item))  # doctest: +SKIP

`Analyze` finds people and fits bodies; `Synthesize` makes, verifies and publishes the output. `Draw`,
`Refine` and `Compose` are the parts of `Synthesize` for pools of their own, with files between them. The
bytes of the output are the same. An error in a video is caught in its stage and becomes the item's verdict,
so it affects that video only.

The attribute `pool` of a stage names the settings of what it needs (`AnonymizeConfig.needs`). A stage without
one runs with the stage before it.
"""

from raymaskdp.anonymize.stages.analyze import Analyze
from raymaskdp.anonymize.stages.compose import Compose
from raymaskdp.anonymize.stages.draw import Draw
from raymaskdp.anonymize.stages.job import Job
from raymaskdp.anonymize.stages.refine import Refine
from raymaskdp.anonymize.stages.synthesize import Synthesize

__all__ = ["Analyze", "Compose", "Draw", "Job", "Refine", "Synthesize"]
