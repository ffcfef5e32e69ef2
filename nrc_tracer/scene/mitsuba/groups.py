"""Reading groups of shapes and their instances."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from nrc_tracer.scene.mitsuba.document import Document
from nrc_tracer.scene.mitsuba.node import Node
from nrc_tracer.scene.model import GroupShape, Instance
from nrc_tracer.scene.names import unique_name


@dataclass
class GroupReader:
    """Converts `shapegroup`s to groups, and collects these.

    Attributes:
        document: The file.
        read: Reads one shape of a group.
        groups: The groups found so far, by their unique names.
        names: The name of each shapegroup node, by its Python id.
    """

    document: Document
    read: Callable[[Node], list[GroupShape]]
    groups: dict[str, tuple[GroupShape, ...]] = field(default_factory=dict)
    names: dict[int, str] = field(default_factory=dict)

    def instance(self, node: Node) -> Instance:
        """Read an `instance`.

        Raises:
            SceneError: It does not contain exactly one `shapegroup`, or a part of that is malformed.
        """
        held = [self.document.resolve(child) for child in node.children]
        if len(held) != 1 or held[0].plugin != "shapegroup":
            node.place.fail(f'{node} must contain (or refer to) one shape "shapegroup" and nothing else')
        instance = Instance(group=self.name(held[0]), name=node.id, to_world=node.transform())
        node.ignore(node.children[0].name)
        self.document.warn_unknown(node)
        return instance

    def name(self, node: Node) -> str:
        """Read a `shapegroup`, unless it has been read before, and return the name of its group.

        Raises:
            SceneError: It contains a group, an instance, an emitting shape, or something malformed.
        """
        if id(node) not in self.names:
            members: list[GroupShape] = []
            for child in node.children:
                members += self._members(node, child)
            node.ignore(*(child.name for child in node.children))
            self.document.warn_unknown(node)
            name = unique_name(node.id or f"shapegroup-{node.place.line}", self.groups, "-")
            self.names[id(node)] = name
            self.groups[name] = tuple(members)
        return self.names[id(node)]

    def _members(self, group: Node, child: Node) -> list[GroupShape]:
        node = self.document.resolve(child)
        if node.tag != "shape":
            self.document.warn(child.place, f"{node} cannot be part of {group}; it is left out")
            return []
        if node.plugin in ("shapegroup", "instance"):
            child.place.fail(f"{group} cannot contain another {node}")
        members = self.read(node)
        if any(member.emission is not None for member in members):
            child.place.fail(f"{group} cannot contain an emitting shape; put {node} beside the instances instead")
        return members
