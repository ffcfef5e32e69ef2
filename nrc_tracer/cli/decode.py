"""`nrc-tracer decode`."""

from __future__ import annotations

from collections.abc import Sequence

import click

from nrc_tracer.cli.command import Group, split_line
from nrc_tracer.cli.decode_image import image
from nrc_tracer.cli.decode_nerf import nerf
from nrc_tracer.cli.decode_sdf import sdf

COMMANDS = (image, sdf, nerf)


class _Decode(Group):
    """The commands of `decode`. The old spelling without the task, `nrc-tracer decode SNAPSHOT ...`, is still accepted."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        snapshot = self._snapshot_without_task(ctx, args)
        if snapshot is not None:
            kind = _read_kind(snapshot)
            click.echo(
                f"hint: this was read as `nrc-tracer decode {kind} {snapshot} ...`; the next version accepts only the spelling "
                "with the task",
                err=True,
            )
            args = [kind, *args]
        return super().parse_args(ctx, args)

    def _snapshot_without_task(self, ctx: click.Context, args: Sequence[str]) -> str | None:
        """Return the snapshot of a command line in the old spelling, None for any other command line."""
        if not args or args[0] in self.commands or not set(ctx.help_option_names).isdisjoint(args):
            return None
        arity: dict[str, int] = {}
        for command in COMMANDS:
            arity.update(command.arity(ctx))
        files = []
        for run in split_line(args, arity):
            files += run[1:] if run[0] == "--" else [word for word in run[:1] if not word.startswith("-")]
        return files[0] if len(files) == 1 else None


def _read_kind(snapshot: str) -> str:
    """Return the task of a snapshot, the name of a command. Raises `SnapshotError`."""
    from nrc_tracer.errors import SnapshotError, nearest
    from nrc_tracer.tasks.task import read_kind

    kind, known = read_kind(snapshot), [command.name or "" for command in COMMANDS]
    if kind not in known:
        raise SnapshotError(f'{snapshot}: the snapshot of an unknown task "{kind:.40}"{nearest(kind, known)}')
    return kind


@click.group(
    cls=_Decode,
    short_help="Turn a fitted model back into an image, a mesh, views or a video.",
    examples=(
        "nrc-tracer decode image window-room.safetensors -o closer.png --crop 55,270,80,80 --scale 6",
        "nrc-tracer decode sdf knot.safetensors -o knot.glb --mesh-resolution 256",
        "nrc-tracer decode nerf room.safetensors -o flight.mp4 --camera-path spline",
    ),
)
def decode() -> None:
    """Write what a snapshot of `nrc-tracer fit` holds: an image, a mesh, a picture of a shape, views of a scene or a video."""


for _command in COMMANDS:
    decode.add_command(_command)
