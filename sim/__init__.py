"""The simulated laboratory: models, hardware and their EPICS servers."""
