"""Thin EPICS servers: they map process variables to the world, and compute nothing."""
