"""Launching kernels on a device, random bits inside kernels, and memory shared between torch and Warp."""
