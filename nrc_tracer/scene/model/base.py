"""What all classes of the scene format share: their base class, and the types of their numbers and colours."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import msgspec
from msgspec import Meta

if TYPE_CHECKING:
    from typing_extensions import dataclass_transform
else:

    def dataclass_transform(**options: Any) -> Any:
        """Return a decorator that changes nothing: only type checkers use the real one."""
        return lambda decorated: decorated


Vec2 = tuple[float, float]
Vec3 = tuple[float, float, float]
Row = tuple[float, float, float, float]
Positive = Annotated[float, Meta(gt=0)]
NonNegative = Annotated[float, Meta(ge=0)]

Color = float | Vec3 | str
"""A grey value, linear RGB, or the name of one of the scene's textures."""
Scalar = float | str
"""A number, or the name of one of the scene's textures (the luminance of its colour is used)."""


# Type checkers do not know that msgspec's classes inherit `frozen`
@dataclass_transform(frozen_default=True, field_specifiers=(msgspec.field,))
class Model(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True, tag_field="type"):
    """Base of every class of the scene format."""
