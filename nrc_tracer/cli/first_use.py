"""The check of a GPU at its first use, for every command that has `--device`."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable
from typing import Any

import click

from nrc_tracer.cli.command import Decorator
from nrc_tracer.cli.outputs import Warnings
from nrc_tracer.cli.progress import announced


def checks_gpus(*, traces_rays: bool) -> Decorator:
    """Let a command check a GPU before its first use; `traces_rays` says whether it traces rays."""

    def decorate(function: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(function)
        def checked(*arguments: Any, **values: Any) -> Any:
            from nrc_tracer.device.screening import screening
            from nrc_tracer.doctor.first_use import FirstUse

            def announce(message: str) -> contextlib.AbstractContextManager[None]:
                return announced(message, quiet=bool(click.get_current_context().params.get("quiet")))

            with screening(FirstUse(Warnings(), announce=announce, traces_rays=traces_rays)):
                return function(*arguments, **values)

        return checked

    return decorate
