"""Datasets by name. A new one is a small file and an entry here, or a `Dataset` of a package's entry point.

docs/your-own.md says how.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from raymaskdp.datasets import folders
from raymaskdp.datasets.manifest import VideoRecord
from raymaskdp.datasets.official import DatasetSource, Problems
from raymaskdp.datasets.readers import chexpert, cifar, hmdb51, imagenet, kinetics, ntu60, smarthome, ucf101
from raymaskdp.extensions import Names, Registry


@dataclass(frozen=True, kw_only=True)
class Dataset:
    """A dataset that can be imported.

    Attributes:
      about: description, one line.
      options: dataclass of its options.
      read: returns its records, from (source, problems); see `raymaskdp.datasets.official`.
    """

    about: str
    options: type
    read: Callable[[DatasetSource, Problems], Iterable[VideoRecord]]


_BUILT_IN = {
    "ucf101": Dataset(
        about="UCF-101, 101 actions, three splits", options=ucf101.Ucf101Options, read=ucf101.read
    ),
    "hmdb51": Dataset(
        about="HMDB-51, 51 actions, three splits", options=hmdb51.Hmdb51Options, read=hmdb51.read
    ),
    "ntu60": Dataset(
        about="NTU RGB+D 60, cross-subject and cross-view, with skeletons",
        options=ntu60.Ntu60Options,
        read=ntu60.read,
    ),
    "smarthome": Dataset(
        about="Toyota Smarthome, trimmed, cross-subject and cross-view",
        options=smarthome.SmarthomeOptions,
        read=smarthome.read,
    ),
    "kinetics": Dataset(
        about="Kinetics and other videos listed in CSV files",
        options=kinetics.KineticsOptions,
        read=kinetics.read,
    ),
    "folders": Dataset(
        about="a folder for each class, of videos or pictures",
        options=folders.FoldersOptions,
        read=folders.read,
    ),
    "cifar10": Dataset(
        about="CIFAR-10, pictures, binary version", options=cifar.CifarOptions, read=cifar.read10
    ),
    "cifar100": Dataset(
        about="CIFAR-100, pictures, binary version", options=cifar.CifarOptions, read=cifar.read100
    ),
    "imagenet": Dataset(
        about="ImageNet-1k, pictures in folders", options=imagenet.ImagenetOptions, read=imagenet.read
    ),
    "chexpert": Dataset(
        about="CheXpert, chest X-rays with five findings",
        options=chexpert.ChexpertOptions,
        read=chexpert.read,
    ),
}


DATASETS: Registry[Dataset] = Registry(
    Names("raymaskdp.datasets", _BUILT_IN),
    _BUILT_IN,
    what="Dataset",
    is_one=lambda part: isinstance(part, Dataset),
)
"""All datasets: the built-in ones, and those of installed packages."""
