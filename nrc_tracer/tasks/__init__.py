"""The other tasks of Instant-NGP on the shared encoding module: an image, a signed distance, a radiance field.

Each is data -> `nn` -> result, and knows nothing of encodings and networks beyond their configuration (Mueller, Evans, Schied,
Keller, *Instant Neural Graphics Primitives with a Multiresolution Hash Encoding*, SIGGRAPH 2022).
"""
