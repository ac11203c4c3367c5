"""A SCPI source-meter as a potentiostat: a process that bridges it to standard PVs.

The program, its limits and its points live in the bridge; what must hold even if the
bridge dies is set in the meter itself.
"""
