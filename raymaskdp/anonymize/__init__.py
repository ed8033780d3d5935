"""Videos of people in, videos of avatars out; one package for each step.

>>> from raymaskdp.anonymize import AnonymizeConfig, anonymize
>>> anonymize("videos/", "out/", AnonymizeConfig())  # doctest: +SKIP
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from raymaskdp import imported_on_use

if TYPE_CHECKING:
    from raymaskdp.anonymize.config import AnonymizeConfig
    from raymaskdp.anonymize.run import AnonymizeResult, anonymize

__all__ = ["AnonymizeConfig", "AnonymizeResult", "anonymize"]

__getattr__ = imported_on_use(
    __name__, {"AnonymizeConfig": "config", "AnonymizeResult": "run", "anonymize": "run"}
)
