"""`benchmark`: measurements in comparison with other software, paired in one run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from raymaskdp.cli.command_classes import CONTEXT, group
from raymaskdp.cli.parameters import PATH, json_option, show
from raymaskdp.cli.settings_of import settings_of


@group()
def benchmark() -> None:
    """Measurements in comparison with other software, paired in one run."""


@benchmark.command("dp-step", context_settings=CONTEXT)
@json_option
@settings_of("raymaskdp.benchmarks.settings.training:DpStepConfig")
def dp_step(settings: Any, as_json: bool) -> None:
    """Time and memory of a private training step, compared with plain SGD and Opacus."""
    from raymaskdp.benchmarks.dp_step import benchmark_dp_step

    show(benchmark_dp_step(settings), as_json)


@benchmark.command("digits", context_settings=CONTEXT)
@json_option
@settings_of("raymaskdp.benchmarks.settings.training:DigitsConfig")
def digits(settings: Any, as_json: bool) -> None:
    """Accuracy of each masked mechanism by ε, on scikit-learn's digits."""
    from raymaskdp.benchmarks.digits import benchmark_digits

    show(benchmark_digits(settings), as_json)


@benchmark.command("digits-opacus", context_settings=CONTEXT)
@json_option
@settings_of("raymaskdp.benchmarks.settings.training:DigitsOpacusConfig")
def digits_opacus(settings: Any, as_json: bool) -> None:
    """DP-SGD on scikit-learn's digits, compared with a few lines of Opacus."""
    from raymaskdp.benchmarks.digits_opacus import benchmark_digits_opacus

    show(benchmark_digits_opacus(settings), as_json)


@benchmark.command("schemes", context_settings=CONTEXT)
@json_option
@settings_of("raymaskdp.benchmarks.settings.training:SchemesConfig")
def schemes(settings: Any, as_json: bool) -> None:
    """Cost of each fine-tuning scheme, and the saving by cached features."""
    from raymaskdp.benchmarks.schemes import benchmark_schemes

    show(benchmark_schemes(settings), as_json)


@benchmark.command("train-scaling", context_settings=CONTEXT)
@json_option
@settings_of("raymaskdp.benchmarks.settings.training:TrainScalingConfig")
def train_scaling(settings: Any, as_json: bool) -> None:
    """Clips a second of training in process and on workers of Ray Train; for public data only."""
    from raymaskdp.benchmarks.train_scaling import benchmark_train_scaling

    show(benchmark_train_scaling(settings), as_json)


@benchmark.command("stages", context_settings=CONTEXT)
@json_option
@settings_of("raymaskdp.benchmarks.settings.videos:StagesConfig")
def benchmark_stages(settings: Any, as_json: bool) -> None:
    """Time of each stage of `anonymize`, at several sizes of frame."""
    from raymaskdp.benchmarks.stages import benchmark_stages as run

    show(run(settings), as_json)


@benchmark.command("real", context_settings=CONTEXT)
@click.argument("folder", type=PATH)
@click.option("--out", type=PATH, required=True, help="Folder for the outputs; it is resumed.")
@json_option
@settings_of("raymaskdp.benchmarks.settings.videos:RealConfig")
def benchmark_real(folder: Path, out: Path, settings: Any, as_json: bool) -> None:
    """Results of `anonymize` on real clips: how many are done, by which rungs, and the people who remain
    visible.
    """
    from raymaskdp.benchmarks.real.clips import benchmark_real as run

    show(run(folder, out, settings), as_json)


@benchmark.command("fidelity", context_settings=CONTEXT)
@click.option("--out", type=PATH, required=True, help="Folder for everything that is made; it is resumed.")
@json_option
@settings_of("raymaskdp.benchmarks.settings.videos:FidelityConfig")
def benchmark_fidelity(out: Path, settings: Any, as_json: bool) -> None:
    """Effect of anonymizing on action recognition: a head on sources, anonymized videos and empty rooms."""
    from raymaskdp.benchmarks.fidelity import benchmark_fidelity as run

    show(run(out, settings), as_json)


@benchmark.command("orderings", context_settings=CONTEXT)
@click.option("--out", type=PATH, required=True, help="Folder for everything that is made; it is resumed.")
@json_option
@settings_of("raymaskdp.benchmarks.settings.orderings:OrderingsConfig")
def orderings(out: Path, settings: Any, as_json: bool) -> None:
    """MaskDP, Multi-Clip and DP-SGD at each ε: paired differences over draws of the data and seeds."""
    from raymaskdp.benchmarks.orderings.command import benchmark_orderings

    show(benchmark_orderings(out, settings), as_json)


@benchmark.command("estimate", context_settings=CONTEXT)
@json_option
@settings_of("raymaskdp.benchmarks.settings.videos:CostEstimateConfig")
def benchmark_estimate(settings: Any, as_json: bool) -> None:
    """The wall time that `raymaskdp estimate` predicts, and that of the runs, on one worker and two."""
    from raymaskdp.benchmarks.cost_estimate import benchmark_estimate as run

    show(run(settings), as_json)


@benchmark.command("anonymize", context_settings=CONTEXT)
@json_option
@settings_of("raymaskdp.benchmarks.settings.videos:BenchmarkAnonymizeConfig")
def benchmark_anonymize(settings: Any, as_json: bool) -> None:
    """Overhead and gain of Ray for `anonymize`: a plain loop, one worker and two; memory by length."""
    from raymaskdp.benchmarks.anonymize import benchmark_anonymize as run

    show(run(settings), as_json)


@benchmark.command("refine", context_settings=CONTEXT)
@json_option
@settings_of("raymaskdp.benchmarks.settings.avatars:RefineBenchmarkConfig")
def refine(settings: Any, as_json: bool) -> None:
    """Temporal stability of avatars on their surface: render, harmonize, and diffusion in two ways."""
    from raymaskdp.benchmarks.diffusion.refine import benchmark_refine

    show(benchmark_refine(settings), as_json)


@benchmark.command("relight", context_settings=CONTEXT)
@json_option
@settings_of("raymaskdp.benchmarks.settings.avatars:RelightConfig")
def relight(settings: Any, as_json: bool) -> None:
    """Accuracy of avatars' light in rendered rooms: harmonized, and with the bundled relighting network."""
    from raymaskdp.benchmarks.diffusion.relight import benchmark_relight

    show(benchmark_relight(settings), as_json)


@benchmark.command("refine-cost", context_settings=CONTEXT)
@json_option
@settings_of("raymaskdp.benchmarks.settings.avatars:RefineCostConfig")
def refine_cost(settings: Any, as_json: bool) -> None:
    """Seconds and memory of diffusion by size, and with ways to save memory."""
    from raymaskdp.benchmarks.diffusion.refine_cost import benchmark_refine_cost

    show(benchmark_refine_cost(settings), as_json)


@benchmark.command("pools", context_settings=CONTEXT)
@json_option
@settings_of("raymaskdp.benchmarks.settings.videos:PoolsBenchmarkConfig")
def pools(settings: Any, as_json: bool) -> None:
    """Share of GPUs' time that is used: stages with pools of their own, and in one operator; stand-ins."""
    from raymaskdp.benchmarks.clusters.pools import benchmark_pools

    show(benchmark_pools(settings), as_json)
