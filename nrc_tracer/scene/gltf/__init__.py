"""glTF 2.0 scenes, as JSON (`.gltf`) and in one file (`.glb`)."""

from nrc_tracer.scene.gltf.reader import read_gltf

__all__ = ["read_gltf"]
