"""The stage of a laboratory with motor records, at caproto's motor record.

The process of the tests searches for PVs elsewhere, so the client is one of its own.
"""

import json
import os
import subprocess
import sys
import textwrap

import pytest

from cryoline.sim.ports import free_ports

pytestmark = pytest.mark.lab

SERVER = """
    from caproto.ioc_examples.fake_motor_record import FakeMotor
    from caproto.server import PVGroup, SubGroup, pvproperty, run

    class Stage(PVGroup):
        alpha = SubGroup(FakeMotor, prefix="Alpha", velocity=20.0,
                         user_limits=(-70.0, 70.0))
        x = SubGroup(FakeMotor, prefix="X", velocity=1e4, user_limits=(-1e6, 1e6))
        y = SubGroup(FakeMotor, prefix="Y", velocity=1e4, user_limits=(-1e6, 1e6))
        z = SubGroup(FakeMotor, prefix="Z", velocity=1e4, user_limits=(-3e5, 3e5))
        temperature = pvproperty(value=-178.0, name="Temp_RBV", units="degC")
        level = pvproperty(value=90.0, name="LN2_RBV", units="%")
        target = pvproperty(value=-178.0, name="TempSet", units="degC")
        time = pvproperty(value=0.0, name="InstrumentTime_RBV", units="s")
        message = pvproperty(value="", name="Message_RBV")

    run(Stage(prefix="MTR:").pvdb, interfaces=["127.0.0.1"])
"""

CLIENT = """
    import json, threading
    import bluesky.plan_stubs as bps
    from bluesky import RunEngine
    from bluesky.utils import RunEngineInterrupted
    from cryoline.devices import CryoStageMotors

    stage = CryoStageMotors("MTR:", name="stage")
    stage.wait_for_connection(timeout=20)
    engine, found = RunEngine({}, context_managers=[]), {}
    engine(bps.mv(stage.alpha_deg, 5.0))
    found["arrived"] = stage.read()["stage_alpha_deg"]["value"]
    try:
        engine(bps.mv(stage.alpha_deg, 72.0))
    except ValueError as error:
        found["refused"] = str(error)
    threading.Timer(0.5, engine.request_pause).start()
    try:
        engine(bps.mv(stage.alpha_deg, 45.0))
    except RunEngineInterrupted:
        threading.Event().wait(1.0)  # a motor record takes a moment to stop
        found["paused"] = stage.alpha_deg.user_readback.get()
        engine.resume()
    found["resumed"] = stage.alpha_deg.user_readback.get()
    stage.stop()
    found["set_degc"] = stage.temperature_set_degc.get()
    print(json.dumps(found))
"""


def test_plans_move_a_stage_of_motor_records_as_they_do_ours() -> None:
    port = str(free_ports(1)[0])
    server = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(SERVER)],
        env={**os.environ, "EPICS_CA_SERVER_PORT": port},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    addresses = {
        "EPICS_CA_ADDR_LIST": f"127.0.0.1:{port}",
        "EPICS_CA_AUTO_ADDR_LIST": "NO",
    }
    try:
        client = subprocess.run(
            [sys.executable, "-c", textwrap.dedent(CLIENT)],
            env={**os.environ, **addresses},
            capture_output=True,
            text=True,
            timeout=90,
        )
    finally:
        server.kill()
        server.wait()

    assert client.returncode == 0, client.stderr
    found = json.loads(client.stdout.splitlines()[-1])
    assert found["arrived"] == pytest.approx(5.0, abs=0.01)
    assert found["refused"].startswith("stage.alpha_deg: 72 ")
    assert "is outside -70..70" in found["refused"]
    assert 5.0 < found["paused"] < 45.0
    assert found["resumed"] == pytest.approx(45.0, abs=0.01)
    assert found["set_degc"] == -178.0
