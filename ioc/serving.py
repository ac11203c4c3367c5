"""The moment from which on declared records are served."""

from epicscorelibs.ioc import iocshCmd
from softioc import builder, softioc

from cryoline.ioc.dispatcher import Dispatcher

__all__ = ["begin_serving"]


def begin_serving(dispatcher: Dispatcher) -> None:
    """Serve every record that was declared; no more can be."""
    builder.LoadDatabase()
    # Where it may, EPICS locks all memory of the process: 150 MB more for each.
    iocshCmd(b"var dbThreadRealtimeLock 0")
    softioc.iocInit(dispatcher, enable_pva=False)
