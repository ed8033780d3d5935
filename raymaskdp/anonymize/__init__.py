"""Videos of people in, videos of avatars out; one package for each step.

>>> from raymaskdp.anonymize import AnonymizeConfig, anonymize
>>> anonymize("videos/", "out/", AnonymizeConfig())  # doctest: +SKIP
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from raymaskdp.anonymize.config import AnonymizeConfig
    from raymaskdp.anonymize.run import AnonymizeResult, anonymize

__all__ = ["AnonymizeConfig", "AnonymizeResult", "anonymize"]


def __getattr__(name: str) -> Any:
    # Lazily, so that importing a single stage loads neither the networks nor the bodies of the others.
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from raymaskdp.anonymize import config, run

    return getattr(config if name == "AnonymizeConfig" else run, name)
