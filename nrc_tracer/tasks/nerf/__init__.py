"""Radiance fields from photographs with known cameras, after NeRF (Mildenhall et al., 2020) and Instant-NGP."""
