"""Triangle meshes of level sets: lattices of samples, isosurfaces, and the meshes made of them."""
