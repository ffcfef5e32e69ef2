"""Textures on a device: all images are in two flat buffers, and a record per texture says where it is and how it is looked up.

8-bit images are packed as RGBA8 words and decoded through a table *before* filtering; 16-bit and float images are stored as
linear float RGB, and a single channel of one as a grey image of its own. Vertex colours are a texture too, which may be
multiplied by another one. A material parameter is a constant times an optional texture (`Param`).
"""

import warp as wp

from nrc_tracer.tracer.vocabulary import REC709_LUMINANCE, TextureKind, WrapMode

LUMINANCE = wp.constant(wp.vec3(*REC709_LUMINANCE))
CHECKERBOARD = wp.constant(int(TextureKind.CHECKERBOARD))
PACKED = wp.constant(int(TextureKind.PACKED))
VERTEX_COLOR = wp.constant(int(TextureKind.VERTEX_COLOR))
CLAMP = wp.constant(int(WrapMode.CLAMP))
MIRROR = wp.constant(int(WrapMode.MIRROR))


@wp.struct
class TextureRecord:
    """Where a texture's texels are stored, and how they are looked up."""

    kind: int  # a `TextureKind`
    base: wp.int64  # first texel in its buffer
    width: int
    height: int
    wrap_u: int  # a `WrapMode`
    wrap_v: int
    nearest: int  # 1: nearest texel instead of bilinear interpolation
    decode: int  # first entry of the 8-bit decoding table: 0 sRGB, 256 linear
    to_u: wp.vec3  # u' = to_u . (u, v, 1)
    to_v: wp.vec3
    shift: wp.vec3i  # lowest bit of red, green and blue in a packed word
    factor: wp.vec3
    color0: wp.vec3
    color1: wp.vec3
    inner: int  # vertex colours: the texture that they are multiplied by; -1: none
    opacity: int  # vertex colours: 1 to take their opacity instead of their colour


@wp.struct
class Textures:
    """All textures of a scene."""

    records: wp.array[TextureRecord]
    packed: wp.array[wp.uint32]  # RGBA8, red in the lowest byte
    floats: wp.array[wp.vec3]
    decode: wp.array[float]  # [512]: 8-bit sRGB to linear, then 8-bit linear to linear


@wp.struct
class TexturePoint:
    """The point at which textures are looked up."""

    uv: wp.vec2
    color: wp.vec4  # vertex colour, linear RGB and opacity


@wp.struct
class Param:
    """A material parameter: `value` times texture number `texture`, if that is not -1."""

    value: wp.vec3
    texture: int


@wp.func
def wrap_texel(i: int, size: int, mode: int) -> int:
    """Map a texel coordinate to [0, size) by a `WrapMode`."""
    if mode == CLAMP:
        return wp.clamp(i, 0, size - 1)
    if mode == MIRROR:
        j = i % (2 * size)
        if j < 0:
            j += 2 * size
        return wp.where(j < size, j, 2 * size - 1 - j)
    j = i % size
    return wp.where(j < 0, j + size, j)


@wp.func
def texel(textures: Textures, record: TextureRecord, x: int, y: int) -> wp.vec3:
    """The linear colour of one texel, whose coordinates are wrapped."""
    column = wrap_texel(x, record.width, record.wrap_u)
    row = wrap_texel(y, record.height, record.wrap_v)
    i = record.base + wp.int64(row) * wp.int64(record.width) + wp.int64(column)
    if record.kind == PACKED:
        word = textures.packed[i]
        r = record.decode + int((word >> wp.uint32(record.shift[0])) & wp.uint32(255))
        g = record.decode + int((word >> wp.uint32(record.shift[1])) & wp.uint32(255))
        b = record.decode + int((word >> wp.uint32(record.shift[2])) & wp.uint32(255))
        return wp.vec3(textures.decode[r], textures.decode[g], textures.decode[b])
    return textures.floats[i]


@wp.func
def lookup_image(textures: Textures, record: TextureRecord, uv: wp.vec2) -> wp.vec3:
    """The colour of an image or a checkerboard at `uv`, without the texture's factor."""
    at = wp.vec3(uv[0], uv[1], 1.0)
    u = wp.dot(record.to_u, at)
    v = wp.dot(record.to_v, at)
    if record.kind == CHECKERBOARD:
        same = (u - wp.floor(u) > 0.5) == (v - wp.floor(v) > 0.5)
        return wp.where(same, record.color0, record.color1)
    x = u * float(record.width)
    y = v * float(record.height)
    if record.nearest != 0:
        return texel(textures, record, int(wp.floor(x)), int(wp.floor(y)))
    x -= 0.5
    y -= 0.5
    x0 = wp.floor(x)
    y0 = wp.floor(y)
    fx = x - x0
    fy = y - y0
    i = int(x0)
    j = int(y0)
    top = texel(textures, record, i, j) * (1.0 - fx) + texel(textures, record, i + 1, j) * fx
    bottom = texel(textures, record, i, j + 1) * (1.0 - fx) + texel(textures, record, i + 1, j + 1) * fx
    return top * (1.0 - fy) + bottom * fy


@wp.func
def lookup(textures: Textures, index: int, at: TexturePoint) -> wp.vec3:
    """The colour of texture `index`."""
    image = index
    factor = textures.records[index].factor
    if textures.records[index].kind == VERTEX_COLOR:
        tint = wp.vec3(at.color[0], at.color[1], at.color[2])
        if textures.records[index].opacity != 0:
            tint = wp.vec3(at.color[3])
        factor = wp.cw_mul(factor, tint)
        image = textures.records[index].inner
        if image < 0:
            return factor
        factor = wp.cw_mul(factor, textures.records[image].factor)
    return wp.cw_mul(factor, lookup_image(textures, textures.records[image], at.uv))


@wp.func
def luminance_gradient(textures: Textures, index: int, uv: wp.vec2) -> wp.vec2:
    """Derivatives of the luminance of texture `index` by u and v.

    They are those of the bilinear interpolation; zero for piecewise constant textures and for vertex colours.
    """
    record = textures.records[index]
    if record.nearest != 0 or record.kind == CHECKERBOARD or record.kind == VERTEX_COLOR:
        return wp.vec2(0.0)
    at = wp.vec3(uv[0], uv[1], 1.0)
    x = wp.dot(record.to_u, at) * float(record.width) - 0.5
    y = wp.dot(record.to_v, at) * float(record.height) - 0.5
    x0 = wp.floor(x)
    y0 = wp.floor(y)
    i = int(x0)
    j = int(y0)
    weights = wp.cw_mul(record.factor, LUMINANCE)
    a = wp.dot(texel(textures, record, i, j), weights)
    b = wp.dot(texel(textures, record, i + 1, j), weights)
    c = wp.dot(texel(textures, record, i, j + 1), weights)
    d = wp.dot(texel(textures, record, i + 1, j + 1), weights)
    along_x = ((b - a) * (1.0 - (y - y0)) + (d - c) * (y - y0)) * float(record.width)
    along_y = ((c - a) * (1.0 - (x - x0)) + (d - b) * (x - x0)) * float(record.height)
    return wp.vec2(
        record.to_u[0] * along_x + record.to_v[0] * along_y, record.to_u[1] * along_x + record.to_v[1] * along_y
    )


@wp.func
def evaluate(textures: Textures, param: Param, at: TexturePoint) -> wp.vec3:
    """The value of a parameter at a point of a surface."""
    if param.texture < 0:
        return param.value
    return wp.cw_mul(param.value, lookup(textures, param.texture, at))


@wp.func
def evaluate_image(textures: Textures, param: Param, uv: wp.vec2) -> wp.vec3:
    """The value of a parameter whose texture is an image or a checkerboard, at `uv`."""
    if param.texture < 0:
        return param.value
    record = textures.records[param.texture]
    return wp.cw_mul(param.value, wp.cw_mul(record.factor, lookup_image(textures, record, uv)))


@wp.func
def evaluate_scalar(textures: Textures, param: Param, at: TexturePoint) -> float:
    """The value of a scalar parameter: the luminance, if its texture has colours."""
    if param.texture < 0:
        return param.value[0]
    return wp.dot(lookup(textures, param.texture, at), LUMINANCE)
