"""Isosurfaces of functions as triangle meshes: extraction, clean-up and files."""
