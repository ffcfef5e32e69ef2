"""Comparing ways to render a scene: rendering, measuring errors against a reference, and the report."""
