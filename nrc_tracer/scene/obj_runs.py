"""Fast reading of the usual blocks of OBJ files, in which lines of one kind follow each other in long runs, all alike.

The text of a run is parsed as it lies in the file, without looking at its lines one by one. A block with anything unusual is
refused as a whole; the caller reads it token by token, with the same result.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from nrc_tracer.scene.number_text import parse_numbers

LINES_PER_RUN = 16
"""Smallest mean number of lines of one run; with shorter runs, reading token by token is as fast."""
FREE_RUNS = 64
"""Number of runs that is accepted in a block of any size."""
LF, CR, BLANK, SLASH = 10, 13, 32, 47
V, F = ord("v"), ord("f")
SECOND = {"v": BLANK, "vt": ord("t"), "vn": ord("n")}
LEAST = {"v": 3, "vt": 1, "vn": 3}
"""Smallest number of numbers in a line of each kind."""


@dataclass(frozen=True)
class Runs:
    """A block, parsed.

    Attributes:
        line_starts, line_ends: First byte of each line, and the end of the line after it.
        others: The lines that are not empty and define neither vertices nor faces.
        values: Numbers of the lines of each kind, shape [line_count, numbers per line], float64.
        face_lines: The lines of the faces.
        sizes: Number of corners of each face.
        corners: Rows of v, vt and vn of each corner, counted from 0 at the beginning of the file, shape [corner_count, 3], -1 if
            absent.
    """

    line_starts: np.ndarray
    line_ends: np.ndarray
    others: np.ndarray
    values: dict[str, np.ndarray]
    face_lines: np.ndarray
    sizes: np.ndarray
    corners: np.ndarray


def read_runs(block: bytes) -> Runs | None:
    """Parse a block of whole lines without comments and continued lines; None if there is something unusual in it."""
    data = np.frombuffer(block, dtype=np.uint8)
    ends = np.flatnonzero(data == LF)
    starts = np.concatenate(([0], ends[:-1] + 1))
    first, second = data[starts], data[np.minimum(starts + 1, ends)]
    third = data[np.minimum(starts + 2, ends)]
    kind = np.zeros(len(starts), np.int8)
    for number, code in enumerate(SECOND.values(), start=1):
        kind[(first == V) & (second == code) & ((code == BLANK) | (third == BLANK))] = number
    kind[(first == F) & (second == BLANK)] = len(SECOND) + 1
    empty = (first == LF) | ((first == CR) & (second == LF))
    others = np.flatnonzero((kind == 0) & ~empty)
    if np.isin(first[others], (V, F)).any() or (first[others] <= BLANK).any():
        return None

    borders = np.concatenate(([0], np.flatnonzero(np.diff(kind)) + 1, [len(kind)]))
    if len(borders) - 1 > FREE_RUNS + len(kind) // LINES_PER_RUN:
        return None
    values = {}
    for number, (name, code) in enumerate(SECOND.items(), start=1):
        lines, text, at, until = _gather(data, starts, ends, kind, borders, number)
        text[at] = BLANK
        if code != BLANK:
            text[at + 1] = BLANK
        rows = _rows(text, at, until) if len(lines) else np.zeros((0, LEAST[name]))
        if rows is None or rows.shape[1] < LEAST[name] or not np.isfinite(rows).all():
            return None
        values[name] = rows
    lines, text, at, until = _gather(data, starts, ends, kind, borders, len(SECOND) + 1)
    text[at] = BLANK
    faces = _faces(text, at) if len(lines) else (np.zeros(0, np.int64), np.zeros((0, 3), np.int64))
    if faces is None:
        return None
    return Runs(starts, ends, others, values, lines, *faces)


def _gather(
    data: np.ndarray, starts: np.ndarray, ends: np.ndarray, kind: np.ndarray, borders: np.ndarray, number: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """The lines of one kind, a copy of their text, and where each begins and ends in it."""
    begins = [(a, b) for a, b in zip(borders[:-1].tolist(), borders[1:].tolist(), strict=True) if kind[a] == number]
    if not begins:
        none = np.zeros(0, np.int64)
        return none, np.zeros(0, np.uint8), none, none
    text = np.concatenate([data[starts[a] : ends[b - 1] + 1] for a, b in begins])
    lines = np.concatenate([np.arange(a, b) for a, b in begins])
    until = np.cumsum(ends[lines] - starts[lines] + 1)
    return lines, text, until - (ends[lines] - starts[lines] + 1), until


def _tokens(text: np.ndarray) -> np.ndarray:
    """Where each word of a text begins. The first byte is blank."""
    dark = text > BLANK
    return np.flatnonzero(dark[1:] & ~dark[:-1]) + 1


def _rows(text: np.ndarray, at: np.ndarray, until: np.ndarray) -> np.ndarray | None:
    """The numbers of lines, shape [line_count, numbers per line]; None unless each line has as many."""
    tokens = _tokens(text)
    width, left = divmod(len(tokens), len(at))
    if left or not width or np.any(tokens[::width] < at) or np.any(tokens[width - 1 :: width] >= until):
        return None
    values = parse_numbers(text.tobytes())
    return None if values is None or len(values) != len(tokens) else values.reshape(-1, width)


def _faces(text: np.ndarray, at: np.ndarray) -> tuple[np.ndarray, np.ndarray] | None:
    """The sizes of faces and their corners; None unless all corners have the same form, without negative numbers."""
    tokens = _tokens(text)
    slashes = np.flatnonzero(text == SLASH)
    if not len(tokens) or len(slashes) % len(tokens) or len(slashes) > 2 * len(tokens):
        return None
    columns = [0, 1, 2][: 1 + len(slashes) // len(tokens)]
    if len(slashes):
        per_corner = slashes.reshape(len(tokens), -1)
        following = np.append(tokens[1:], len(text))
        if np.any(per_corner[:, 0] <= tokens) or np.any(per_corner[:, -1] >= following):
            return None
        if np.any(text[per_corner[:, -1] + 1] <= BLANK):
            return None
        if len(columns) == 3:
            apart = per_corner[:, 1] - per_corner[:, 0] > 1
            if not apart.any():
                columns = [0, 2]
            elif not apart.all():
                return None
        text[slashes] = BLANK
    numbers = parse_numbers(text.tobytes(), np.int64)
    if numbers is None or len(numbers) != len(tokens) * len(columns) or numbers.min() < 1:
        return None
    corners = np.full((len(tokens), 3), -1, np.int64)
    corners[:, columns] = numbers.reshape(-1, len(columns)) - 1
    return np.diff(np.append(np.searchsorted(tokens, at), len(tokens))), corners
