"""Ways to damage a file: each takes bytes and a random generator, and returns other bytes."""

from __future__ import annotations

import random
import re

INTERESTING_BYTES = (0x00, 0x01, 0x7F, 0x80, 0xFF, 0x0A, 0x20, 0x22, 0x2D, 0x2F, 0x3C, 0x5B, 0x7B)
INTERESTING_NUMBERS = (
    b"0",
    b"-1",
    b"1e999",
    b"-1e999",
    b"nan",
    b"inf",
    b"1e-320",
    b"2147483647",
    b"2147483648",
    b"4294967295",
    b"4294967296",
    b"99999999999999999999",
    b"18446744073709551615",
    b"0x7f",
    b"",
    b"null",
    b"true",
    b'"text"',
    b"[]",
    b"{}",
    b"1e30",
    b"-1e30",
    b"1e-30",
    b"5500000.25",
)
MAX_GROWTH = 1 << 20

_NUMBER = re.compile(rb"-?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?")
_WORD = re.compile(rb"[A-Za-z_][A-Za-z_0-9]*")


def flip_bits(data: bytes, random: random.Random) -> bytes:
    """Flip one to eight bits."""
    result = bytearray(data)
    for _ in range(random.randint(1, 8)):
        result[random.randrange(len(result))] ^= 1 << random.randrange(8)
    return bytes(result)


def set_bytes(data: bytes, random: random.Random) -> bytes:
    """Set one to four bytes to extreme values, brackets or quotes."""
    result = bytearray(data)
    for _ in range(random.randint(1, 4)):
        result[random.randrange(len(result))] = random.choice(INTERESTING_BYTES)
    return bytes(result)


def set_integer(data: bytes, random: random.Random) -> bytes:
    """Write an extreme integer of 2, 4 or 8 bytes at a random place, where binary formats may have a count, size or offset."""
    size = random.choice((2, 4, 8))
    if len(data) < size:
        return b""
    value = random.choice(
        (0, 1, 2**15, 2**16 - 1, 2**31 - 1, 2**31, 2**32 - 1, 2**63, 2**64 - 1, random.getrandbits(64))
    )
    place = random.randrange(len(data) - size + 1)
    order = random.choice(("little", "big"))
    return data[:place] + (value % 2 ** (8 * size)).to_bytes(size, order) + data[place + size :]


def truncate(data: bytes, random: random.Random) -> bytes:
    """Remove the end."""
    return data[: random.randrange(len(data))]


def drop(data: bytes, random: random.Random) -> bytes:
    """Remove a piece from the middle."""
    begin = random.randrange(len(data))
    return data[:begin] + data[begin + random.randint(1, 64) :]


def repeat(data: bytes, random: random.Random) -> bytes:
    """Repeat a piece, between one and a thousand times."""
    begin = random.randrange(len(data))
    piece = data[begin : begin + random.randint(1, 64)]
    times = random.choice((1, 2, 10, 1000))
    return data[:begin] + piece * min(times, MAX_GROWTH // max(len(piece), 1)) + data[begin:]


def swap(data: bytes, random: random.Random) -> bytes:
    """Exchange two pieces."""
    a, b = sorted(random.randrange(len(data)) for _ in range(2))
    size = random.randint(1, 32)
    return data[:a] + data[b : b + size] + data[a + size : b] + data[a : a + size] + data[b + size :]


def replace_number(data: bytes, random: random.Random) -> bytes:
    """Replace a number in a text by another one, or by something that is not a number."""
    return _replace(data, _NUMBER, random, random.choice(INTERESTING_NUMBERS))


def replace_word(data: bytes, random: random.Random) -> bytes:
    """Replace a word in a text by another word of the same text."""
    words = _WORD.findall(data[:65536])
    return _replace(data, _WORD, random, random.choice(words)) if words else flip_bits(data, random)


def _replace(data: bytes, pattern: re.Pattern[bytes], random: random.Random, by: bytes) -> bytes:
    found = list(pattern.finditer(data[:65536]))
    if not found:
        return flip_bits(data, random)
    match = random.choice(found)
    return data[: match.start()] + by + data[match.end() :]


def encode(data: bytes, random: random.Random) -> bytes:
    """Write a text as other programs do: with a byte order mark, in UTF-16 or Latin-1, or with other ends of lines."""
    return random.choice(
        (
            lambda: b"\xef\xbb\xbf" + data,
            lambda: data.decode(errors="replace").encode("utf-16"),
            lambda: data.replace(b"\n", "\u00fc\n".encode("latin-1"), 3),
            lambda: data.replace(b"\n", b"\r\n"),
            lambda: data.replace(b"\n", b"\r\r\n"),
            lambda: data.replace(b"\n", b"\r"),
        )
    )()


def pad(data: bytes, random: random.Random) -> bytes:
    """Widen the spaces of a text, indent its lines, or drop or double its blank lines."""
    return random.choice(
        (
            lambda: data.replace(b" ", b"  "),
            lambda: data.replace(b" ", b"\t", 5),
            lambda: data.replace(b"\n", b" \n  "),
            lambda: data.replace(b"\n\n", b"\n"),
            lambda: data.replace(b"\n", b"\n\n"),
        )
    )()


def negate(data: bytes, random: random.Random) -> bytes:
    """Change the sign of a number, as a mirrored transform or a polygon of the other orientation has."""
    found = list(_NUMBER.finditer(data[:65536]))
    if not found:
        return flip_bits(data, random)
    match = random.choice(found)
    number = match.group()
    number = number[1:] if number.startswith(b"-") else b"-" + number
    return data[: match.start()] + number + data[match.end() :]


BINARY = (flip_bits, set_bytes, set_integer, set_integer, truncate, drop, repeat, swap)
TEXT = (flip_bits, set_bytes, truncate, drop, repeat, swap, replace_number, replace_number, replace_word, replace_word)
TEXT += (encode, pad, negate)


def damaged(data: bytes, random: random.Random, *, text: bool) -> bytes:
    """Damage a file in one to three random ways."""
    for _ in range(random.choice((1, 1, 2, 3))):
        if data:
            data = random.choice(TEXT if text else BINARY)(data, random)
    return data
