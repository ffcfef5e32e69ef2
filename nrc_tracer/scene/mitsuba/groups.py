"""Groups of shapes and their instances."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from nrc_tracer.scene.mitsuba.document import Document
from nrc_tracer.scene.mitsuba.node import Node
from nrc_tracer.scene.model import GroupShape, Instance


@dataclass
class GroupReader:
    """Turns `shapegroup`s into groups, and collects these.

    Attributes:
        document: The file.
        read: Reads one shape of a group.
        groups: The groups met so far, by their unique names.
        names: The name of each shapegroup node.
    """

    document: Document
    read: Callable[[Node], list[GroupShape]]
    groups: dict[str, tuple[GroupShape, ...]] = field(default_factory=dict)
    names: dict[int, str] = field(default_factory=dict)

    def instance(self, node: Node) -> Instance:
        """Read an `instance`.

        Raises:
            SceneError: It does not hold exactly one `shapegroup`, or a part of that is malformed.
        """
        held = [self.document.resolve(child) for child in node.children]
        if len(held) != 1 or held[0].plugin != "shapegroup":
            node.place.fail(f'{node} must hold (or refer to) one shape "shapegroup" and nothing else')
        instance = Instance(group=self.name(held[0]), name=node.id, to_world=node.transform())
        node.ignore(node.children[0].name)
        self.document.warn_unknown(node)
        return instance

    def name(self, node: Node) -> str:
        """Read a `shapegroup`, unless that is done, and return the name of its group.

        Raises:
            SceneError: It holds a group, an instance, an emitter, or something malformed.
        """
        if id(node) not in self.names:
            members: list[GroupShape] = []
            for child in node.children:
                members += self._members(node, child)
            node.ignore(*(child.name for child in node.children))
            self.document.warn_unknown(node)
            name = node.id or f"shapegroup-{node.place.line}"
            candidate, number = name, 2
            while candidate in self.groups:
                candidate, number = f"{name}-{number}", number + 1
            self.names[id(node)] = candidate
            self.groups[candidate] = tuple(members)
        return self.names[id(node)]

    def _members(self, group: Node, child: Node) -> list[GroupShape]:
        node = self.document.resolve(child)
        if node.tag != "shape":
            self.document.warn(child.place, f"{node} has no place in {group}; it is left out")
            return []
        if node.plugin in ("shapegroup", "instance"):
            child.place.fail(f"{group} cannot hold another {node}")
        members = self.read(node)
        if any(member.emission is not None for member in members):
            child.place.fail(f"{group} cannot hold a shape that shines; put {node} beside the instances instead")
        return members
