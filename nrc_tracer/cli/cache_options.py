"""The options of commands that render with a radiance cache."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from nrc_tracer.cli.parameters import together

if TYPE_CHECKING:
    from nrc_tracer.cache import RadianceCache

_POSITIVE = click.FloatRange(0, min_open=True)

cache_options = together(
    click.option(
        "--cache",
        "cache_mode",
        type=click.Choice(["off", "on", "unbiased", "view"]),
        default="off",
        show_default=True,
        help="End paths in a neural radiance cache that learns while it is used: fast, and biased by what the summary says; "
        "correct it at random, without bias; or look at what it has learnt.",
    ),
    click.option(
        "--encoding",
        type=click.Choice(["hash", "triangle-wave"]),
        help="How the cache sees positions: a hash grid, or as in the paper. Default: hash.",
    ),
    click.option(
        "--cache-config",
        type=click.Path(path_type=Path),
        metavar="JSON",
        help="Encoding, network, loss and optimizer of the cache in tiny-cuda-nn's format.",
    ),
    click.option(
        "--spread",
        type=_POSITIVE,
        metavar="C",
        help="A path ends where its footprint is C times that of the first thing seen. Default: 0.01.",
    ),
    click.option(
        "--train-spread",
        type=_POSITIVE,
        metavar="C",
        help="The same for the suffixes it learns from. Default: --spread.",
    ),
    click.option(
        "--feature-size", type=_POSITIVE, help="Smallest distance that the hash grid tells apart, in scene units."
    ),
    click.option(
        "--train-frames",
        type=click.IntRange(0, 2**31 - 1),
        metavar="N",
        help="Frames of the warm-up. Default: until the measured bias is small, at most a quarter of --time; without "
        "it, at most 64 frames or a quarter of --spp, whichever is more.",
    ),
    click.option("--load-cache", type=click.Path(path_type=Path), metavar="FILE", help="Go on with a saved cache."),
    click.option("--save-cache", type=click.Path(path_type=Path), metavar="FILE", help="Save the cache at the end."),
    click.option("--freeze-cache", is_flag=True, help="Learn no more; with --load-cache."),
    click.option(
        "--nn-backend",
        type=click.Choice(["warp", "tinycudann", "reference"]),
        help="What runs the cache's network. Default: warp.",
    ),
    click.option(
        "--deterministic",
        is_flag=True,
        help="On a GPU, train the cache to the same bits every time; on the CPU it always is.",
    ),
)

_SETTINGS = {
    "encoding": "encoding",
    "cache_config": "config",
    "spread": "spread",
    "train_spread": "train_spread",
    "feature_size": "feature_size",
    "train_frames": "train_frames",
    "freeze_cache": "freeze",
    "nn_backend": "backend",
    "deterministic": "deterministic",
}
"""The options that are settings of a cache, with the names that they have there."""


def read_cache(options: dict[str, Any]) -> RadianceCache | None:
    """The cache that the options ask for, or None.

    Raises:
        click.UsageError: Options of a cache without one.
        NrcError: It cannot be loaded, or its configuration cannot be read.
    """
    given = {
        name: options[name] for name in (*_SETTINGS, "load_cache", "save_cache") if options[name] not in (None, False)
    }
    if options["cache_mode"] == "off":
        if given:
            raise click.UsageError(f"{_flag(next(iter(given)))} needs --cache on, unbiased or view.")
        return None
    saved = options["load_cache"]
    if "freeze_cache" in given and saved is None:
        raise click.UsageError("--freeze-cache needs --load-cache: a cache that never learns is of no use.")
    for name in ("encoding", "cache_config", "feature_size"):
        if name in given and saved is not None:
            raise click.UsageError(f"{_flag(name)} is that of the saved cache; leave it out.")

    from nrc_tracer.cache import RadianceCache

    settings = {_SETTINGS[name]: value for name, value in given.items() if name in _SETTINGS}
    if "config" in settings:
        settings["config"] = str(settings["config"])
    return RadianceCache(**settings) if saved is None else RadianceCache.load(saved, **settings)


def _flag(name: str) -> str:
    """An option as it is typed."""
    return f"--{name.replace('_', '-')}"


def cache_line(report: dict[str, Any]) -> str:
    """Say what the cache did: `cache: bias +0.4 % (+- 0.7 %); 64 frames of warm-up (2.3 s), 0.98 queries a path, ...`."""
    if report.get("continue_probability") == 1.0:
        return "cache: not used, as correcting it would cost more here than it saves; paths were traced to their end"
    seconds = report["seconds"]
    total = sum(seconds.values()) or 1.0
    shares = ", ".join(
        f"{name} {100 * seconds[key] / total:.0f} %"
        for key, name in (("trace", "tracing"), ("query", "queries"), ("train", "training"))
    )
    return (
        f"cache: {bias_words(report)}; {report['warm_up_frames']} frames of warm-up ({report['warm_up_seconds']:.1f} s), "
        f"{report['queries_per_path']:.2f} queries a path, {report['mean_path_length']:.1f} vertices a path; {shares}"
    )


def bias_words(report: dict[str, Any]) -> str:
    """The measured bias in words."""
    bias, error = report["bias"], report["bias_error"]
    if bias is None or error is None or not math.isfinite(bias):
        return "bias not measured"
    # The report's sign is that of what is missing
    return f"bias {-100 * bias:+.1f} % (+- {100 * error:.1f} %)"
