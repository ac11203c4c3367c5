"""`cryoline sim meter`: the simulated source-meter as a process, to try a bridge on."""

import asyncio
import contextlib
from typing import Annotated

import typer

from cryoline.sim.scpi_cell import MicroCell
from cryoline.sim.scpi_meter import ScpiMeter
from cryoline.sim.scpi_server import ScpiServer

__all__ = ["run_meter"]


def run_meter(
    port: Annotated[int, typer.Option(help="TCP port, on this machine only.")] = 5025,
    seed: Annotated[int, typer.Option(min=0, help="Seed of its noise.")] = 1,
    capacity_mah: Annotated[
        float, typer.Option(min=1e-4, help="Capacity of the cell, mAh.")
    ] = 0.01,
    state: Annotated[
        float, typer.Option(min=0, max=1, help="Delithiated part of the cell.")
    ] = 0.5,
) -> None:
    """Serve a source-meter with a small cell, until Ctrl-C; its time is the wall's."""
    cell = MicroCell(capacity_mah=capacity_mah, state=state)
    server = ScpiServer(ScpiMeter(cell, seed=seed), port)
    typer.echo(
        f"A source-meter with a cell of {capacity_mah:g} mAh, at {server.address}"
    )
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(server.serve())
