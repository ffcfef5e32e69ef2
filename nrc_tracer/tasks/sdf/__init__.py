"""A shape as the signed distance to its surface: from a triangle mesh to a network, and to pictures and meshes of it.

Mueller, Evans, Schied, Keller, *Instant Neural Graphics Primitives with a Multiresolution Hash Encoding* (SIGGRAPH 2022),
section 5.2. Everything is learnt in the unit cube, in which the mesh lies with a margin; distances are negative inside.
"""
