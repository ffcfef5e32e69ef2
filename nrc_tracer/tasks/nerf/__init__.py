"""A radiance field from photographs whose cameras are known, after NeRF (Mildenhall et al., 2020) and Instant-NGP."""
