"""Options of the radiance cache, the same in every command that renders with one: all of them begin with `--cache`."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from nrc_tracer.cli.command import Decorator, Option, option, together, under
from nrc_tracer.cli.options import CACHE, PATH
from nrc_tracer.cli.values import POSITIVE, Several, distinct, json_pairs

if TYPE_CHECKING:
    from nrc_tracer.cache import RadianceCache

MODES = ("on", "raw", "voxel", "unbiased", "view")
ENCODINGS = ("hash", "triangle-wave")

SETTINGS = {
    "cache_encoding": "encoding",
    "cache_config": "config",
    "cache_spread": "spread",
    "cache_train_frames": "train_frames",
    "cache_freeze": "freeze",
}
"""The options that are settings of a cache, with the names that `CacheOptions` has for them."""
RARE_SETTINGS = (
    *("train_spread", "feature_size", "records", "steps", "train_every", "decay_frames", "capacity", "unbiased"),
    *("warm_up_unbiased", "correction", "factorize", "average", "backend", "precision", "deterministic", "fused"),
)
"""The other settings of `CacheOptions`, for `--cache-option`."""
VOXEL_SETTINGS = ("voxel_angle", "most_count", "least_count")
"""The settings of `VoxelOptions` alone, for `--cache-option`."""

_MODE_HELP = (
    "How the radiance cache is used, which is trained while it renders. on: half of the paths end in it, and what the others "
    "find corrects the image, whose bias vanishes as samples come in. raw: all paths end in it, without correction; the bias is "
    "measured and printed. voxel: as raw, with mean radiance in voxels in place of a network. unbiased: some paths continue, and "
    "correct each sample. view: show what the cache has learned."
)

_setting_options = (
    option(
        "--cache-config",
        type=PATH,
        metavar="JSON",
        help="Encoding, network, loss and optimizer of the cache, in tiny-cuda-nn's format.",
    ),
    option(
        "--cache-spread",
        type=POSITIVE,
        metavar="C",
        old={"--spread": "{}"},
        help="A path ends where its footprint is C times that of its first vertex. Default: 0.01.",
    ),
    option(
        "--cache-train-frames",
        type=click.IntRange(0, 2**31 - 1),
        metavar="N",
        old={"--train-frames": "{}"},
        help="Frames of training before the first sample. Default: until the measured bias is small, for at most a quarter of "
        "--time; without --time, for at most 32 frames or a quarter of --spp, whichever is more.",
    ),
    option(
        "--cache-option",
        multiple=True,
        callback=json_pairs,
        metavar="NAME=VALUE",
        old={
            "--train-spread": "train_spread={}",
            "--feature-size": "feature_size={}",
            "--nn-backend": "backend={}",
            "--deterministic": "deterministic=true",
        },
        help=f"Another setting of nrc_tracer.CacheOptions: {', '.join(RARE_SETTINGS)}. With voxel, of nrc_tracer.VoxelOptions: "
        f"{', '.join(VOXEL_SETTINGS)}. May be repeated.",
    ),
)


@dataclass(frozen=True)
class CacheChoice:
    """The options for the cache of a command.

    Attributes:
        mode: `off`, `on`, `raw`, `voxel`, `unbiased` or `view`.
        settings: Settings of the cache that were given, as JSON data, by the names that `CacheOptions` has for them.
        load: File of a saved cache to start with.
        save: File to save the cache to.
    """

    mode: str
    settings: dict[str, Any] = field(default_factory=dict)
    load: Path | None = None
    save: Path | None = None

    @property
    def renderer_mode(self) -> str:
        """The mode for a renderer, which has one even without a cache."""
        return {"off": "on", "voxel": "raw"}.get(self.mode, self.mode)

    def make(self) -> RadianceCache | None:
        """Make or load the cache; None if there is to be none.

        Raises:
            CacheError: The cache cannot be loaded, or a setting does not exist or is out of range.
            ConfigError: Its configuration cannot be read.
        """
        if self.mode == "off":
            return None
        from nrc_tracer.cache import RadianceCache, VoxelCache

        check_settings(self.settings, voxels=self.mode == "voxel")
        kind = VoxelCache if self.mode == "voxel" else RadianceCache
        return kind(**self.settings) if self.load is None else kind.load(self.load, **self.settings)


@dataclass(frozen=True)
class CacheComparison:
    """The options for the caches of a comparison, which has every mode with every encoding.

    Attributes:
        modes: Some of `on`, `raw`, `voxel`, `unbiased` and `view`.
        encodings: Some of `hash` and `triangle-wave`.
        settings: Settings that all caches share, as in `CacheChoice`.
    """

    modes: tuple[str, ...]
    encodings: tuple[str, ...]
    settings: dict[str, Any]

    def check(self) -> None:
        """Raise `CacheError` for a setting that no cache of the comparison has, or whose value has the wrong type or range."""
        from nrc_tracer.cache import VoxelOptions

        if "voxel" not in self.modes:
            check_settings(self.settings)
            return
        unknown = {name: x for name, x in self.settings.items() if name not in VoxelOptions.__struct_fields__}
        check_settings(unknown, voxels=True)
        for voxels in (False, True):
            check_settings(self.settings_of(voxels=voxels), voxels=voxels)

    def settings_of(self, *, voxels: bool) -> dict[str, Any]:
        """The settings that a cache of voxels, or one with a network, has; voxels have none of a network's."""
        from nrc_tracer.cache import CacheOptions, VoxelOptions

        known = set(VoxelOptions.__struct_fields__) - set(VoxelOptions.OF_NETWORKS)
        names = known if voxels else set(CacheOptions.__struct_fields__)
        return {name: value for name, value in self.settings.items() if name in names}

    def make(self, mode: str, encoding: str | None) -> tuple[RadianceCache, str]:
        """Make a new cache for a mode of the comparison; return it with the mode for a renderer."""
        from nrc_tracer.cache import RadianceCache, VoxelCache

        if mode == "voxel":
            return VoxelCache(**self.settings_of(voxels=True)), "raw"
        return RadianceCache(**{"encoding": encoding, **self.settings_of(voxels=False)}), mode


def _cache_options(default: str) -> Decorator:
    """The options of a cache, with the mode that `--cache` has by default."""
    return _handed_over(
        _choice,
        option(
            "--cache",
            "cache_mode",
            type=click.Choice(["off", *MODES]),
            default=default,
            show_default=True,
            help=_MODE_HELP,
        ),
        option(
            "--cache-encoding",
            type=click.Choice(ENCODINGS),
            old={"--encoding": "{}"},
            help="Encoding of positions: a hash grid, or triangle waves as in the paper. Default: hash.",
        ),
        *_setting_options,
        option(
            "--cache-load",
            type=PATH,
            metavar="FILE",
            old={"--load-cache": "{}"},
            help="Start with a saved cache.",
        ),
        option(
            "--cache-save",
            type=PATH,
            metavar="FILE",
            old={"--save-cache": "{}"},
            help="Save the cache at the end.",
        ),
        option(
            "--cache-freeze",
            is_flag=True,
            old={"--freeze-cache": ""},
            help="Do not train the cache any more; needs --cache-load.",
        ),
    )


def cache_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options of a cache; the command takes them as its argument `cache`: `CacheChoice`."""
    return _cache_options("off")(command)


def live_cache_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options of a cache that is used unless it is switched off, as the argument `cache`: `CacheChoice`."""
    decorated = _cache_options("on")(command)
    for parameter in getattr(decorated, "__click_params__", []):
        if isinstance(parameter, Option):
            parameter.old.clear()  # the options of a new command never had other spellings
    return decorated


def cache_comparison_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options of the caches of a comparison; the command takes them as its argument `cache`: `CacheComparison`."""
    return _handed_over(
        _comparison,
        option(
            "--cache",
            "cache_modes",
            type=Several(click.Choice(MODES)),
            multiple=True,
            callback=distinct,
            default=["on,unbiased"],
            metavar="MODE[,MODE..]",
            old={"--view": "on,unbiased,view"},
            help=f"Modes to compare with rendering without a cache. {_MODE_HELP} Default: on,unbiased.",
        ),
        option(
            "--cache-encoding",
            "cache_encodings",
            type=Several(click.Choice(ENCODINGS)),
            multiple=True,
            callback=distinct,
            default=["hash"],
            metavar="NAME[,NAME..]",
            old={"--encoding": "{}"},
            help="Encodings of positions to compare: hash (a hash grid), triangle-wave (as in the paper). Default: hash.",
        ),
        *_setting_options,
    )(command)


def check_settings(settings: dict[str, Any], *, voxels: bool = False) -> None:
    """Raise `CacheError` for a setting that a cache does not have, or whose value has the wrong type or range."""
    import msgspec

    from nrc_tracer.cache import CacheOptions, VoxelOptions
    from nrc_tracer.errors import CacheError, nearest

    kind = VoxelOptions if voxels else CacheOptions
    for name in settings:
        if name not in kind.__struct_fields__:
            raise CacheError(f'--cache-option: a cache has no setting "{name}"{nearest(name, kind.__struct_fields__)}')
    try:
        msgspec.convert(settings, kind)
    except msgspec.ValidationError as error:
        raise CacheError(f"a setting of the cache has the wrong type: {error}") from error


def _handed_over(make: Callable[[dict[str, Any]], object], *options: Decorator) -> Decorator:
    """Join the options of a cache; `make` turns their values, which it takes out, into the command's argument `cache`."""

    def decorate(command: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(command)
        def with_cache(*arguments: Any, **values: Any) -> Any:
            return command(*arguments, cache=make(values), **values)

        return together(under(CACHE, *options))(with_cache)

    return decorate


def _choice(values: dict[str, Any]) -> CacheChoice:
    mode, load, save = (values.pop(name) for name in ("cache_mode", "cache_load", "cache_save"))
    given = _given(values)
    if mode == "off":
        files = {"cache_load": load, "cache_save": save}
        names = [*given, *(name for name, file in files.items() if file is not None)]
        if names:
            raise click.UsageError(f"{_as_typed(names[0])} needs --cache on, raw, voxel, unbiased or view.")
    if "cache_freeze" in given and load is None:
        raise click.UsageError("--cache-freeze needs --cache-load: a cache that was never trained shows nothing.")
    settings = _settings(given)
    if load is not None:
        for name in ("encoding", "config", "feature_size"):
            if name in settings:
                raise click.UsageError(f"the {name} of a cache is saved with it; leave it out with --cache-load.")
    return CacheChoice(mode, settings, load, save)


def _comparison(values: dict[str, Any]) -> CacheComparison:
    modes, encodings = values.pop("cache_modes"), values.pop("cache_encodings")
    settings = _settings(_given(values))
    if "encoding" in settings:
        raise click.UsageError("--cache-option encoding=...: give the encoding by --cache-encoding.")
    return CacheComparison(modes, encodings, settings)


def _given(values: dict[str, Any]) -> dict[str, Any]:
    """Take the options that are settings out of `values`; those that were given."""
    taken = {name: values.pop(name) for name in (*SETTINGS, "cache_option") if name in values}
    return {
        name: value for name, value in taken.items() if not (value is None or value is False or value == {})
    }  # `in` would take 0 for False


def _settings(given: dict[str, Any]) -> dict[str, Any]:
    """Settings by the names that `CacheOptions` has for them."""
    settings = {SETTINGS[name]: value for name, value in given.items() if name in SETTINGS}
    if "config" in settings:
        settings["config"] = str(settings["config"])
    for name, value in given.get("cache_option", {}).items():
        if name in settings:
            raise click.UsageError(f"the cache's {name} is given twice, by --cache-option and by an option of its own.")
        settings[name] = value
    return settings


def _as_typed(name: str) -> str:
    """An option's name as it is typed."""
    return f"--{name.replace('_', '-')}"
