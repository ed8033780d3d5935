"""Properties of Amazon's and Google's machines, by the names of their types."""

from __future__ import annotations

import re
from collections.abc import Iterator

SIZES = r"(nano|micro|small|medium|large|(|2|3|4|6|8|9|10|12|16|18|24|32|48|96)xlarge|metal(-\d+xl)?)"
"""Sizes of Amazon's machines without GPUs."""

GPUS = {
    "aws": {
        rf"[mcrtiz]\d\w*\.{SIZES}": 0,
        r"(g4dn|g5|g6|g6e|gr6)\.(|2|4|8|16)xlarge": 1,
        r"(g4dn|g5|g6|g6e)\.12xlarge|(g5|g6|g6e)\.24xlarge": 4,
        r"(g5|g6|g6e)\.48xlarge|g4dn\.metal": 8,
        r"(p3\.2|p5\.4)xlarge": 1,
        r"p3\.8xlarge": 4,
        r"p3\.16xlarge|p3dn\.24xlarge|p4de?\.24xlarge|p5e?n?\.48xlarge|p6-b[23]00\.48xlarge": 8,
    },
    "gcp": {
        r"([enct]2[ad]?|[cnm][34][ad]?)-(standard|highmem|highcpu|megamem)-\d+(-lssd)?": 0,
        r"e2-(micro|small|medium)": 0,
        r"g2-standard-(4|8|12|16|32)": 1,
        r"g2-standard-24": 2,
        r"g2-standard-48": 4,
        r"g2-standard-96": 8,
    },
}
"""GPUs of machines by patterns of their names, from Amazon's and Google's lists."""

FORMS = {"aws": rf"[a-z][\w-]*\.({SIZES}|\d+xlarge)", "gcp": r"[a-z]\d+\w*-[\w-]+"}
"""Pattern of all names of machine types."""

ADDED = r"n1-(standard|highmem|highcpu)-\d+|custom-\d+-\d+(-ext)?|n1-custom-\d+-\d+(-ext)?"
"""Google's machines to which GPUs can be attached."""

CLOSED = {"aws": r"(g3s?|g4dn|g4ad|g5|p2|p3|p3dn|p4d|p4de)\..*", "gcp": r"g2-.*"}
"""Families with GPUs that get no new members."""

OWNERS = {"aws": "Amazon's", "gcp": "Google's"}

ASK = {
    "aws": "ask Amazon: aws ec2 describe-instance-types --instance-types {}",
    "gcp": "ask Google: gcloud compute machine-types list --filter=name={}",
}


def gpus_of(machine: str) -> int | None:
    """The GPUs of a machine of Amazon's or Google's, by the name of its type; None if unknown."""
    for kinds in GPUS.values():
        for kind, gpus in kinds.items():
            if re.fullmatch(kind, machine):
                return gpus
    found = re.fullmatch(r"a[234]x?-(?:high|mega|ultra)gpu-(1|2|4|8|16)g(-lssd|-nolssd|-metal)?", machine)
    return int(found[1]) if found else None


def no_machine(cloud: str, machine: str) -> Iterator[tuple[str, str]]:
    """The fault of a machine type that a cloud does not have."""
    if not machine or cloud not in GPUS or is_known(cloud, machine):
        return
    if not re.fullmatch(FORMS[cloud], machine) or re.fullmatch(CLOSED[cloud], machine):
        yield f"{machine} is none of {OWNERS[cloud]} machines", ASK[cloud].format(machine)


def new_machine(cloud: str, machine: str) -> Iterator[tuple[str, str]]:
    """The doubt about a machine type that may be new, or misspelt."""
    if machine and cloud in GPUS and not is_known(cloud, machine) and not any(no_machine(cloud, machine)):
        yield (
            f"this doctor does not know the machine {machine}, so neither it nor its GPUs are checked",
            ASK[cloud].format(machine),
        )


def is_known(cloud: str, machine: str) -> bool:
    """Whether a cloud has such a machine type."""
    if cloud == "gcp" and re.fullmatch(ADDED, machine):
        return True
    return re.fullmatch(FORMS[cloud], machine) is not None and gpus_of(machine) is not None
