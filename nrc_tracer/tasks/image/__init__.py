"""An image as a network of its pixels' positions, read out of core, of any size.

Mueller, Evans, Schied, Keller, *Instant Neural Graphics Primitives with a Multiresolution Hash Encoding* (SIGGRAPH 2022),
section 5.1.
"""
