"""Parsing XML files into a tree of nodes, with parameters, includes, names of older formats, ids and references.

Files are not trusted: entities, document types and network access are disabled, and the depth of includes is limited.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from lxml import etree

from nrc_tracer.errors import SceneError, nearest
from nrc_tracer.files.reading import reading
from nrc_tracer.scene.mitsuba import values
from nrc_tracer.scene.mitsuba.node import Flat, Node, Place, Property, Wavelengths
from nrc_tracer.scene.mitsuba.older_formats import upgrade

MAX_INCLUDES = 16
"""Largest number of files that include each other."""
OBJECTS = {
    "scene", "bsdf", "emitter", "film", "integrator", "medium", "phase", "rfilter", "sampler", "sensor", "shape",
    "texture", "volume",
}  # fmt: skip
VALUES = {"float", "integer", "boolean", "string", "point", "vector", "rgb", "srgb", "spectrum", "transform"}
TAGS = OBJECTS | VALUES | {"default", "include", "alias", "ref", "path"}


@dataclass
class Document:
    """A whole scene file, with the files that it includes.

    Attributes:
        path: The main file.
        root: The <scene>.
        ids: Nodes by their id.
        folders: Folders named by <path>, in which files are searched.
        warnings: Warnings about what is not supported, each only once, in the order of the file.
        images: Generated images, by the names that replace file names.
    """

    path: Path
    root: Node
    ids: dict[str, Node] = field(default_factory=dict)
    folders: list[Path] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    images: dict[str, np.ndarray] = field(default_factory=dict)

    def add_image(self, name: str, pixels: np.ndarray) -> str:
        """Add a generated image, and return the name to use as its file name."""
        result = f"#{name}"
        while result in self.images:
            result += "+"
        self.images[result] = pixels
        return result

    def warn(self, place: Place, message: str) -> None:
        """Add a warning about something that is not supported, unless there is the same one already."""
        text = f"{place}: {message}"
        if text not in self.warnings:
            self.warnings.append(text)

    def warn_unknown(self, node: Node) -> None:
        """Warn about all properties of a node that are not among its known names."""
        for name, place in node.unknown():
            self.warn(place, f'{node} has no parameter "{name}"{nearest(name, node.known)}; it is ignored')

    def warn_twice(self, node: Node, name: str, first: Place, last: Place) -> None:
        """Warn about a parameter that is given twice."""
        self.warn(last, f'{node} has "{name}" twice (also in line {first.line}); the last one is used')

    def resolve(self, node: Node) -> Node:
        """Follow a reference; any other node is returned unchanged.

        Raises:
            SceneError: The id does not exist.
        """
        if node.tag != "ref":
            return node
        target = self.ids.get(node.id)
        if target is None:
            node.place.fail(f'there is nothing with the id "{node.id}"{nearest(node.id, self.ids)}')
        return target

    def is_used(self, node: Node) -> bool:
        """Return whether a shape refers to a node."""
        shapes = (other for other in _walk(self.root) if other.tag == "shape")
        return any(child.tag == "ref" and self.resolve(child) is node for shape in shapes for child in shape.children)

    def children(self, node: Node, tag: str) -> list[Node]:
        """Return the children with a tag, in order, with references followed."""
        resolved = (self.resolve(child) for child in node.children)
        return [child for child in resolved if child.tag == tag]

    def child(self, node: Node, name: str) -> Node | None:
        """Return the child that is the value of a parameter, with a reference followed; of several, the last, with a warning."""
        node.known.add(name)
        found = [child for child in node.children if child.name == name]
        if len(found) > 1:
            self.warn_twice(node, name, found[0].place, found[-1].place)
        return self.resolve(found[-1]) if found else None

    def file_name(self, node: Node, name: str = "filename") -> str:
        """Return a file name relative to the main file's folder, or an absolute one.

        The file is searched beside the file that names it, then in the folders of <path>, then beside the main file.
        """
        given = node.string(name)
        place = node.properties[name].place
        if not given.strip():
            place.fail(f"{node}: {name} is empty")
        main = self.path.parent
        for text in (given, given.replace("\\", "/")):
            for folder in (place.file.parent, *reversed(self.folders), main):
                try:
                    exists = (folder / text).exists()
                except (OSError, ValueError):
                    exists = False
                if exists:
                    return text if folder == main or Path(text).is_absolute() else str((folder / text).absolute())
        return given if place.file.parent == main else str((place.file.parent / given).absolute())


def read_document(path: Path, parameters: Mapping[str, str] | None = None) -> Document:
    """Parse a file and the files that it includes.

    Args:
        path: The main file.
        parameters: Values for `$name`s, which override the <default>s of the file.

    Raises:
        SceneError: A file is missing or malformed, an id is defined twice, or a given parameter is not used.
    """
    document = Document(path, Node("scene", "", "", "", Place(path, 1)))
    given = dict(parameters or {})
    parser = _Parser(document, dict(given))
    document.root = parser.read_file(path, document.root.place)
    if document.root.tag != "scene":
        document.root.place.fail(f"the file contains a <{document.root.tag}>, not a <scene>")
    for name in given:
        if name not in parser.used:
            raise SceneError(f'{path}: the file has no parameter "${name}"{nearest(name, parser.names)}')
    for alias, source, place in parser.aliases:
        if alias in document.ids:
            place.fail(f'the id "{alias}" is taken by {document.ids[alias].place}')
        document.ids[alias] = document.resolve(Node("ref", "", source, "", place))
    for node in _walk(document.root):
        document.resolve(node)
    return document


def _walk(node: Node) -> Iterator[Node]:
    yield node
    for child in node.children:
        yield from _walk(child)


class _Parser:
    """Parses files into a document, and passes parameters from one to the next."""

    def __init__(self, document: Document, parameters: dict[str, str]) -> None:
        self.document = document
        self.parameters = parameters
        self.used: set[str] = set()
        self.names: set[str] = set()
        self.aliases: list[tuple[str, str, Place]] = []
        self.open: list[Path] = []
        self.major = 3

    def read_file(self, path: Path, by: Place) -> Node:
        """Read a file. `by` is the place that includes it."""
        if len(self.open) >= MAX_INCLUDES:
            by.fail(f"more than {MAX_INCLUDES} files include each other")
        root = _parse(path)
        place = Place(path, root.sourceline or 1)
        version = root.get("version")
        if version is None:
            place.fail(f'<{root.tag}> needs the attribute "version"')
        number = re.fullmatch(r"(\d+)\.\d+(\.\d+)?", version)
        if number is None:
            place.fail(f'"{version}" is not a version of the format, such as 3.0.0')
        outer, self.major = self.major, int(number.group(1))
        self.open.append(path)
        try:
            if root.tag not in OBJECTS:
                place.fail(f"unknown element <{root.tag}>{nearest(str(root.tag), OBJECTS)}")
            return self._object(root, place, is_root=True)
        finally:
            self.open.pop()
            self.major = outer

    def _object(self, element: etree._Element, place: Place, is_root: bool = False) -> Node:
        attributes = self._attributes(element, place)
        plugin = attributes.get("type", "")
        allowed = {"type", "id", "name"} | ({"version"} if is_root else set())
        self._check(element, attributes, place, allowed, set() if element.tag == "scene" else {"type"})
        node = Node(element.tag, plugin, attributes.get("id", ""), self._name(attributes), place)
        if node.id:
            if node.id in self.document.ids:
                place.fail(f'the id "{node.id}" is taken by {self.document.ids[node.id].place}')
            self.document.ids[node.id] = node
        for child in element:
            if isinstance(child.tag, str):
                self._child(node, child, Place(place.file, child.sourceline or place.line))
        if self.major < 3:
            upgrade(node)
        return node

    def _child(self, node: Node, element: etree._Element, place: Place) -> None:
        tag = element.tag
        if tag not in TAGS:
            place.fail(f"unknown element <{tag}>{nearest(tag, TAGS)}")
        attributes = self._attributes(element, place)
        is_object = tag in OBJECTS or (tag == "spectrum" and "type" in attributes)
        if not is_object and tag != "transform" and any(isinstance(child.tag, str) for child in element):
            place.fail(f"<{tag}> cannot contain other elements")
        if is_object:
            child = self._object(element, place)
            self._drop_earlier(node, child.name, place, also_children=False)
            node.children.append(child)
        elif tag == "ref":
            self._check(element, attributes, place, {"id", "name"}, {"id"})
            name = self._name(attributes)
            self._drop_earlier(node, name, place, also_children=False)
            node.children.append(Node("ref", "", attributes["id"], name, place))
        elif tag == "default":
            self._check(element, attributes, place, {"name", "value"}, {"name", "value"})
            self.names.add(attributes["name"])
            self.used.add(attributes["name"])
            self.parameters.setdefault(attributes["name"], attributes["value"])
        elif tag == "alias":
            self._check(element, attributes, place, {"id", "as"}, {"id", "as"})
            self.aliases.append((attributes["as"], attributes["id"], place))
        elif tag == "path":
            self._check(element, attributes, place, {"value"}, {"value"})
            self.document.folders.append(self._existing(attributes["value"], place, "folder"))
        elif tag == "include":
            self._check(element, attributes, place, {"filename", "name"}, {"filename"})
            included = self.read_file(self._existing(attributes["filename"], place, "file"), place)
            if included.tag == "scene":
                node.children.extend(included.children)
            else:
                included.name = self._name(attributes) or included.name
                node.children.append(included)
        else:
            item = Property(tag, self._value(element, attributes, place), place)
            name = self._name(attributes)
            self._drop_earlier(node, name, place, also_children=True)
            node.properties[name] = item

    def _drop_earlier(self, node: Node, name: str, place: Place, *, also_children: bool) -> None:
        """Remove the value that a parameter of a plugin has already, with a warning: it is given once more at `place`.

        The formats 0.x use the last value, and format 3 refuses the file. Several nested objects may have one name, such as the
        materials of a mixture, so `Document.child` decides about those.
        """
        earlier = [node.properties.pop(name).place] if name in node.properties else []
        if also_children:
            earlier += [child.place for child in node.children if child.name == name]
            node.children = [child for child in node.children if child.name != name]
        if earlier:
            self.document.warn_twice(node, name, earlier[0], place)

    def _value(self, element: etree._Element, attributes: dict[str, str], place: Place) -> Any:
        """Parse the value of a property."""
        tag = element.tag
        if tag in ("point", "vector"):
            self._check(element, attributes, place, {"name", "value", "x", "y", "z"}, {"name"})
            return values.parse_vector(attributes, place, attributes["name"], None)
        if tag == "transform":
            self._check(element, attributes, place, {"name"}, {"name"})
            steps = []
            for child in element:
                if isinstance(child.tag, str):
                    at = Place(place.file, child.sourceline or place.line)
                    warn = self.document.warn if self.major >= 2 else None
                    steps.append(values.parse_step(child.tag, self._attributes(child, at), at, warn))
            return tuple(steps)
        if tag == "spectrum" and "filename" in attributes:
            self._check(element, attributes, place, {"name", "filename"}, {"name"})
            return self._spectrum_file(attributes, place)
        self._check(element, attributes, place, {"name", "value"}, {"name", "value"})
        name, text = attributes["name"], attributes["value"]
        match tag:
            case "float":
                return values.parse_float(text, place, name)
            case "integer":
                return values.parse_integer(text, place, name)
            case "boolean":
                return values.parse_boolean(text, place, name)
            case "rgb":
                return values.parse_rgb(text, place, name)
            case "srgb":
                if text.strip().startswith("#"):
                    return values.parse_rgb(text, place, name)
                return values.decode_srgb_color(values.parse_floats(text, place, name, (3,)))
            case "spectrum" if self.major < 3 and ":" not in text and len(text.replace(",", " ").split()) == 3:
                return values.parse_rgb(text, place, name)  # Mitsuba 0.5 and 0.6, built for RGB
            case "spectrum":
                return values.parse_spectrum(text, place, name)
            case _:
                return text

    def _spectrum_file(self, attributes: dict[str, str], place: Place) -> Flat | Wavelengths:
        path = self._existing(attributes["filename"], place, "file")
        try:
            lines = path.read_text(encoding="utf-8").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            place.fail(f"{path} cannot be read as a spectrum: {error}")
        rows = [line.split() for line in lines if line.strip() and not line.lstrip().startswith("#")]
        if any(len(row) != 2 for row in rows):
            place.fail(f"{path} is not a spectrum: each line must have a wavelength and a value")
        return values.parse_spectrum(" ".join(":".join(row) for row in rows), place, attributes["name"])

    def _existing(self, name: str, place: Place, kind: str) -> Path:
        folders = (place.file.parent, *reversed(self.document.folders), self.document.path.parent)
        for folder in folders:
            path = folder / name
            try:
                if path.is_dir() if kind == "folder" else path.is_file():
                    return path
            except (OSError, ValueError):
                break
        place.fail(f'there is no {kind} "{name}"')

    def _attributes(self, element: etree._Element, place: Place) -> dict[str, str]:
        """Return the attributes of an element, with parameters substituted."""
        return {name: self._substitute(value, place) for name, value in element.attrib.items()}

    def _substitute(self, text: str, place: Place) -> str:
        if "$" not in text:
            return text

        def replace(match: re.Match) -> str:
            if match.group(1):
                return "$"
            word = match.group(2)
            # "$width2" may be the parameter "width" followed by a 2: take the longest known name
            name = next((word[:end] for end in range(len(word), 0, -1) if word[:end] in self.parameters), None)
            if name is None:
                place.fail(f'the parameter "${word}" has no value{nearest(word, self.parameters)}')
            self.used.add(name)
            self.names.add(name)
            return self.parameters[name] + word[len(name) :]

        return re.sub(r"(\\\$)|\$(\w*)", replace, text)

    def _name(self, attributes: dict[str, str]) -> str:
        name = attributes.get("name", "")
        # Formats before 3 write "toWorld" for "to_world", and "intIOR" for "int_ior"
        return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name).lower() if self.major < 3 else name

    @staticmethod
    def _check(
        element: etree._Element, attributes: dict[str, str], place: Place, allowed: set[str], needed: set[str]
    ) -> None:
        for name in attributes:
            if name not in allowed:
                place.fail(f'<{element.tag}> has no attribute "{name}"{nearest(name, allowed)}')
        for name in sorted(needed):
            if name not in attributes:
                place.fail(f'<{element.tag}> needs the attribute "{name}"')


def _parse(path: Path) -> etree._Element:
    """Parse an XML file, without entities, document types and network access."""
    with reading(path, SceneError):
        data = path.read_bytes()
    parser = etree.XMLParser(
        resolve_entities=False, load_dtd=False, no_network=True, dtd_validation=False, huge_tree=False
    )
    if b"<!DOCTYPE" in data:
        line = data[: data.index(b"<!DOCTYPE")].count(b"\n") + 1
        raise SceneError(f"{path}:{line}: a document type (<!DOCTYPE>) is not allowed in a scene file")
    try:
        root = etree.fromstring(data, parser)
    except etree.XMLSyntaxError as error:
        line, _ = error.position
        raise SceneError(f"{path}:{line}: not well-formed XML: {error.msg}") from error
    if root.getroottree().docinfo.doctype:
        raise SceneError(f"{path}: a document type (<!DOCTYPE>) is not allowed in a scene file")
    return root
