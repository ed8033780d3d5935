"""The meaning of a plan's ε, in sentences for a report."""

from __future__ import annotations

from typing import Literal

from raymaskdp.privacy.per_record.adaptive import AdaptiveClipping
from raymaskdp.privacy.per_record.clipping import Clipping


def guarantee_statement(
    adjacency: str,
    unit: str,
    *,
    masked: bool,
    clipping: Clipping,
    contribution: Literal["one-sided", "two-sided"],
) -> str:
    """What the ε of a plan with noise covers."""
    hidden = {
        "zero-out": f"whether the sensitive tokens of any one {unit} have their real values or are all blank"
        if masked
        else f"whether any one {unit} contributes or nothing does in its place",
        "add-remove": f"whether any one {unit} is among the data, given their number",
        "replace": f"what the sensitive tokens of any one {unit} are"
        if masked
        else f"what any one {unit} is",
    }[adjacency]
    public = "Labels, masks, poses, avatar layers and" if masked else "The set of labels and"
    number = "the number of records are public."
    if adjacency == "add-remove":
        public, number = "The number of records, and what is computed from it,", "is taken as public."
    return (
        f"ε bounds what the trained model, and every update on the way, reveals about {hidden} "
        f"({adjacency} adjacency). {public} {number} {_sensitivity(unit, clipping, contribution)} "
        "Sums and noise are whole numbers of one grid, so no single update tells them apart; the noise "
        "is a Gaussian that is rounded to that grid, by an exact sampler."
    )


def _sensitivity(unit: str, clipping: Clipping, contribution: Literal["one-sided", "two-sided"]) -> str:
    """Largest change of a step's release by one record."""
    times = "" if contribution == "one-sided" else "twice "
    if isinstance(clipping, AdaptiveClipping):
        adaptive = clipping.adaptive
        longer = clipping.moved * (1 if contribution == "one-sided" else 2)
        return (
            f"Gradients of a {unit} are clipped to a norm that starts at {clipping.clipping_norm:g} and "
            f"stays within {adaptive.least:g} and {adaptive.most:g}, so one moves a sum by at most {times}"
            f"the norm of its step, and the count of those that are longer by at most {longer:g}. "
            "Sum and count are released with noise for both together, and the norm follows from released "
            "counts alone."
        )
    how = {"flat": "as a whole", "automatic": "to nearly that", "per-layer": "layer by layer"}[clipping.name]
    return (
        f"Gradients of a {unit} are clipped {how}, so one moves a sum by at most {times}{clipping.bound:g}."
    )
