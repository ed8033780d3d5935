"""Every command of the README and the docs is run: here, on the tiny demo, or in a test that is named.

A command is run as it stands, but for names of things that there are not here (`NAMES`), and with settings
after it that make it small (`SMALLER`). What needs a cluster, a data set, weights or hours is in `ELSEWHERE`,
with the test that runs it in small and a text that this test must hold; what needs a network or a GPU is in
`NOT_RUN`, with the reason.
"""

import os
import re
import shlex
import shutil
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pytest
from test_doc_commands import EXAMPLES, ROOT, arguments

from raymaskdp import cli
from raymaskdp.demo import DemoResult

pytestmark = [pytest.mark.slow, pytest.mark.cluster]

NOT_RUN = {
    r"models pull sd15-depth": "fetches gigabytes of weights",
    r"anonymize .* composite.refine=diffusion": "needs weights and a GPU; with drawn weights it is run by "
    "tests/anonymize/compose/test_diffusion_refiner.py",
    r"s3://": "needs an object store",
}

ELSEWHERE = {
    r"submit |job ": ("cluster/test_submit.py", 'raymaskdp("submit", "anonymize"'),
    r"doctor --launch": ("operate/test_launch_check.py", 'cli.main(["doctor", "--launch"'),
    r"review \S+ --(release|drop)": ("report/test_review.py", "release=[one]"),
    r"estimate \S+( sample=.*)?$": ("operate/test_estimate.py", 'cli.main(["estimate"'),
    r"anonymize .* (pose.detector=|--config configs/anonymize_gpu)": (
        "anonymize/people/test_configured_networks.py",
        "def test_a_whole_run_hides_everybody",
    ),
    r"anonymize .* pose.source=ntu": ("anonymize/people/test_sources.py", '("ntu", write_ntu'),
    r"train .*model.name=transformers": ("models/test_hub.py", 'ModelConfig(name="transformers"'),
    r"train .*model.name=mvit": ("models/test_weights.py", 'load_backbone(tmp_path / "w.pth", small("mvit-'),
    r"dataset import ucf101": ("datasets/test_official.py", 'cli.main(["dataset", "import"'),
    r"sweep --config configs/papers": ("test_paper_configs.py", "papers"),
    r"benchmark stages": ("benchmarks/test_stages.py", "def test_every_stage_is_measured"),
    r"benchmark dp-step": ("benchmarks/test_dp_step.py", "def test_a_case_is_measured"),
    r"benchmark schemes": ("benchmarks/test_schemes_benchmark.py", "def test_kept_features"),
    r"benchmark pools": ("benchmarks/test_pools_benchmark.py", '"benchmark", "pools"'),
    r"benchmark orderings": ("benchmarks/test_orderings.py", "def test_the_whole_command_in_small_and_again"),
    r"benchmark train-scaling": ("benchmarks/test_train_scaling.py", "def test_speed_waiting"),
}

NAMES = {
    r"/data/videos|SOURCE|^videos/$": "videos",
    r"^/data/anonymized|^run=/data/anonymized|^DIR$": "anonymized",
    r"ucf101\.parquet$": "private/manifest.parquet",
    r"^runs/maskdp-\S+|^RUN(?=/|$)|(?<=^baseline=)OTHER_RUN$": "RUN",
    r"^sweeps/mvit_ucf101$": "sweep",
}

READ_BY_WORKERS = {"videos", "anonymized", "private/manifest.parquet"}

TRAINED = [
    "init=null",
    "steps=2",
    "clips.frames=4",
    "clips.stride=2",
    "clips.draws=4",
    "privacy.expected_batch=3",
    "compute.workers=0",
]
SMALLER = {
    r"audit anonymization": ["frames=3", "detector_frames=1", "epochs=1", "action_epochs=1"],
    r"audit training": ["runs=8", "models=0"],  # shadow models: tests/audit/test_training_audit.py
    r"models train-lift": [
        "seeds=[1]", "large_seeds=[]", "acted_seeds=[]", "stepping_seeds=[]", "videos=1", "frames=8",
        "epochs=1",
    ],
    r"dataset synthesize": ["people=1", "takes=1", "actions=[wave]", "rooms=1", "cameras=1", "frames=4"],
    r"train ": [*TRAINED, "--out", "trained"],
    r"sweep ": [
        "clips", "--out", "swept", "seeds=[0]", "grids={frontier: {privacy.epsilon: [2.0]}}",
        *(f"train.{setting}" for setting in TRAINED),
    ],
    r"evaluate .*crops=": ["crops=1"],  # its frames have no room for three
}  # fmt: skip


def matching(table: dict[str, object], line: str) -> str | None:
    return next((pattern for pattern in table if re.search(pattern, line)), None)


def here(line: str, run: str, sandbox: Path = Path()) -> list[str]:
    """The words of a command line as it is run here."""
    words = arguments(line)
    for pattern, name in NAMES.items():
        words = [
            re.sub(pattern, lambda found: ("run=" if found[0].startswith("run=") else "") + name, word)  # noqa: B023
            for word in words
        ]
    words = [re.sub(r"^(baseline=)?RUN", rf"\1{run}", word) for word in words]
    line = " ".join(words)
    # The session's cluster was started in another folder, so what its workers read has a full path.
    words = [str(sandbox / word) if word in READ_BY_WORKERS else word for word in words]
    smaller = [word for pattern in SMALLER if re.search(f"^{pattern}", line) for word in SMALLER[pattern]]
    return [*without(words, smaller), *smaller]


def without(words: list[str], others: list[str]) -> list[str]:
    """The words without settings and options that others give: a setting must not be given twice."""
    given = {word.partition("=")[0] for word in others if "=" in word or word.startswith("--")}
    kept, skipped = [], False
    for word in words:
        if skipped or (word.partition("=")[0] in given and "=" in word):
            skipped = False
        elif word in given:
            skipped = True  # an option, and its value
        else:
            kept.append(word)
    return kept


@pytest.fixture(scope="module")
def sandbox(finished: tuple[Path, DemoResult], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A copy of the demo's folder to work in, with the names that the docs use."""
    folder = tmp_path_factory.mktemp("docs") / "work"
    shutil.copytree(finished[0], folder)
    (folder / "configs").symlink_to(ROOT / "configs")
    shutil.copytree(folder / "private", folder / "videos")
    table = pd.read_parquet(folder / "videos" / "manifest.parquet")
    table.to_csv(folder / "videos" / "manifest.csv", index=False)
    (folder / "videos" / "manifest.parquet").unlink()
    before = Path.cwd()
    os.chdir(folder)
    yield folder
    os.chdir(before)


def bare(line: str) -> str:
    """A command line without its comment and the program's name."""
    return " ".join(arguments(line))


LINES = {
    " ".join(here(line, "RUN")): line
    for _, line in EXAMPLES
    if not matching(NOT_RUN, bare(line)) and not matching(ELSEWHERE, bare(line))
}
"""By what is run here, so that nothing is run twice."""


@pytest.mark.parametrize("line", LINES.values(), ids=[bare(line)[:60] for line in LINES.values()])
def test_it_runs(line: str, sandbox: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = next(path for path in sorted((sandbox / "runs").iterdir()) if (path / "result.json").is_file())
    words = here(line, str(run.relative_to(sandbox)), sandbox)
    status = cli.main(words)
    printed = capsys.readouterr()
    assert status == 0, f"{shlex.join(words)}\n{printed.out}\n{printed.err}"


def test_what_is_run_elsewhere_is_run_there() -> None:
    for pattern, (file, text) in ELSEWHERE.items():
        assert text in (ROOT / "tests" / file).read_text(encoding="utf-8"), f"{file} no longer runs {pattern}"
    for table in (NOT_RUN, ELSEWHERE):
        for pattern in table:
            assert any(re.search(pattern, bare(line)) for _, line in EXAMPLES), (
                f"no command is like {pattern}"
            )
