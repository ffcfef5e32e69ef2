"""Comparing ways to render a scene: what is rendered, what is measured, and the report of it."""
