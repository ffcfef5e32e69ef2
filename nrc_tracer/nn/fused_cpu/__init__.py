"""Encoding and networks in one kernel on the CPU: a stretch of points stays in the cache from its inputs to its outputs."""
