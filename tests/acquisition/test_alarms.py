"""Alarms reach a person: through real sockets, once, and after any outage."""

import http.server
import json
import os
import re
import socketserver
import threading
import time
import tomllib
from email import message_from_bytes, policy
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from cryoline.acquisition.alarm_config import AlarmsSection
from cryoline.acquisition.alarms import AlarmSender
from cryoline.acquisition.analysis_worker import AnalysisWorker
from cryoline.acquisition.config import load_config
from cryoline.acquisition.errors import ConfigError
from cryoline.acquisition.journal import Journal
from cryoline.acquisition.metadata import session_metadata

PATIENCE_S = 30.0


class Server(socketserver.ThreadingMixIn, socketserver.TCPServer):
    """Keeps what its handlers received."""

    daemon_threads = True
    allow_reuse_address = True
    received: list[Any]
    answer: int


class Webhook(http.server.BaseHTTPRequestHandler):
    """Keeps what is POSTed; answers what it is told to."""

    server: Server

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.received.append((self.path, json.loads(body)))
        self.send_response(self.server.answer)
        self.end_headers()

    def log_message(self, *arguments):
        """Say nothing."""


class Smtp(socketserver.StreamRequestHandler):
    """As much of RFC 5321 as a mail takes."""

    server: Server

    def handle(self):
        def say(line):
            self.wfile.write(f"{line}\r\n".encode())

        envelope: dict[str, Any] = {"to": []}
        say("220 test ESMTP")
        while line := self.rfile.readline().decode().strip():
            verb = line.upper()
            if verb.startswith("MAIL FROM:"):
                envelope["from"] = address_in(line)
            elif verb.startswith("RCPT TO:"):
                envelope["to"].append(address_in(line))
            elif verb == "DATA":
                say("354 go ahead")
                content = b""
                while not content.endswith(b"\r\n.\r\n"):
                    content += self.rfile.readline()
                envelope["message"] = message_from_bytes(
                    content[:-5], policy=policy.default
                )
                self.server.received.append(envelope)
            elif verb == "QUIT":
                say("221 bye")
                return
            say("250 ok")


def address_in(line):
    match = re.search(r"<(.*?)>", line)
    assert match is not None, line
    return match[1]


@pytest.fixture
def serve():
    """Return a server of real sockets on a free port (or a given one)."""
    running = []

    def start(handler, port=0, answer=200):
        server = Server(("127.0.0.1", port), handler)
        server.received, server.answer = [], answer
        threading.Thread(
            target=server.serve_forever, kwargs={"poll_interval": 0.02}
        ).start()
        running.append(server)
        return server

    yield start
    for server in running:
        server.shutdown()
        server.server_close()


@pytest.fixture
def configured(tmp_path):
    def make(**alarms):
        path = tmp_path / "instrument.toml"
        lines = [f"{name} = {json.dumps(value)}" for name, value in alarms.items()]
        path.write_text("\n".join(['[instrument]\nname = "bench"', "[alarms]", *lines]))
        return load_config(path)

    return make


def journal_a_lost_contact(config, *, uid="run", age_s=0.0, **md):
    """Write the raw journal of a cell that rails in its first half cycle."""
    rows = 40
    time_s = time.time() - age_s
    columns = {
        "instrument_time_s": (60.0 * np.arange(rows)).tolist(),
        "potential_v": [*np.linspace(0.3, 0.9, 30).tolist(), *[5.0] * 10],
        "current_a": [1e-3] * rows,
        "charge_mah": np.linspace(0, 1, rows).tolist(),
        "cycle_number": [1] * rows,
        "half_cycle": [0] * rows,
    }
    data = {f"pot_{name}": column for name, column in columns.items()}
    keys = {name: {"source": "x", "dtype": "number", "shape": []} for name in data}
    start = {"uid": uid, "time": time_s, "scan_id": 1, "specimen": "cell-07"}
    descriptor = {"uid": f"{uid}-d", "run_start": uid, "time": time_s, "name": "points"}
    page = {
        "descriptor": f"{uid}-d",
        "uid": [f"{uid}-{k}" for k in range(rows)],
        "seq_num": list(range(1, rows + 1)),
        "time": [time_s] * rows,
        "data": data,
        "timestamps": {name: [time_s] * rows for name in data},
        "filled": {},
    }
    journal = Journal(config.layout.raw_journal)
    journal("start", {**session_metadata(config), **start, **md})
    journal("descriptor", {**descriptor, "data_keys": keys})
    journal("event_page", page)
    journal(
        "stop",
        {"uid": f"{uid}-s", "run_start": uid, "time": time_s, "exit_status": "success"},
    )
    journal.close()


def work(config, until=lambda sender: True):
    """Run a worker over the journals, and its sender until something has happened."""
    with AlarmSender(config) as sender:
        worker = AnalysisWorker(config.layout, alarms=sender)
        try:
            while worker.look():
                pass
            deadline = time.monotonic() + PATIENCE_S
            while not until(sender):
                assert time.monotonic() < deadline, sender.problem
                threading.Event().wait(0.02)
        finally:
            worker.close()


def all_sent(sender):
    return not any(sender.outbox.waiting(c) for c in sender.outbox.channels)


def test_a_lost_contact_is_posted_and_mailed(configured, serve) -> None:
    hook, mail = serve(Webhook), serve(Smtp)
    config = configured(
        webhook_url=f"http://127.0.0.1:{hook.server_address[1]}/alarm",
        mail_to=["night@lab.example", "day@lab.example"],
        mail_from="cryoline@lab.example",
        smtp_host="127.0.0.1",
        smtp_port=mail.server_address[1],
    )
    journal_a_lost_contact(config)

    work(config, all_sent)

    ((path, posted),) = hook.received
    (alarm,) = posted["alarms"]
    assert path == "/alarm"
    assert posted["instrument"] == "bench"
    assert (alarm["kind"], alarm["severity"]) == ("contact_loss", "major")
    assert alarm["specimen"] == "cell-07"
    assert alarm["instrument_time_s"] == 30 * 60.0
    assert "cell-07: contact to the cell lost? 5.000 V is beyond" in posted["text"]
    (envelope,) = mail.received
    assert envelope["to"] == ["night@lab.example", "day@lab.example"]
    assert envelope["message"]["Subject"].startswith("bench: contact_loss in ")
    assert "5.000 V is beyond 4.8 V" in envelope["message"].get_content()


def test_it_is_told_once_however_often_the_run_is_analysed(configured, serve) -> None:
    hook = serve(Webhook)
    config = configured(webhook_url=f"http://127.0.0.1:{hook.server_address[1]}/")
    journal_a_lost_contact(config)
    work(config, all_sent)
    for path in config.layout.derived_journal.iterdir():
        path.unlink()

    work(config, all_sent)

    assert len(hook.received) == 1


def test_what_can_not_be_sent_waits_and_goes_out_by_the_next_worker(
    configured, serve
) -> None:
    refusing = serve(Webhook, answer=503)
    port = refusing.server_address[1]
    config = configured(webhook_url=f"http://127.0.0.1:{port}/")
    journal_a_lost_contact(config)
    journal_a_lost_contact(config, uid="other", scan_id=2)

    work(config, lambda sender: sender.problem)

    assert len(refusing.received) >= 1
    refusing.answer, refusing.received[:] = 200, []
    work(config, all_sent)
    ((_, posted),) = refusing.received  # both in one message
    assert len(posted["alarms"]) == 2
    assert "and 1 more" in posted["text"]


def test_a_server_that_is_away_is_said_in_the_workers_state(configured) -> None:
    config = configured(webhook_url="http://127.0.0.1:9/")
    journal_a_lost_contact(config)

    def is_said(sender):
        return "1 alarms wait for the webhook: URLError" in sender.problem

    work(config, is_said)


@pytest.mark.parametrize(
    "reason", ["imported", "long ago", "minor", "nobody is configured"]
)
def test_what_is_nobodys_emergency_is_not_sent(configured, serve, reason) -> None:
    hook = serve(Webhook)
    url = f"http://127.0.0.1:{hook.server_address[1]}/"
    config = configured(**{} if reason[0] == "n" else {"webhook_url": url})
    md = {"imported_file": {"name": "x"}} if reason == "imported" else {}
    if reason != "minor":
        journal_a_lost_contact(
            config, age_s=90_000 if reason == "long ago" else 0.0, **md
        )
    sender = AlarmSender(config)
    if reason == "minor":
        severe = AlarmSender(configured(webhook_url=url, severity="major"))
        severe.outbox.put({"uid": "u", "time": time.time(), "severity": "minor"})
        sender = severe

    work(config)

    assert all_sent(sender)
    assert hook.received == []


def test_a_password_that_others_may_read_is_refused(configured, monkeypatch) -> None:
    config = configured(
        mail_to=["a@b"], mail_from="c@d", smtp_host="h",
        smtp_user="me", smtp_security="tls",
    )  # fmt: skip
    path = config.layout.root / "smtp_password"
    with pytest.raises(
        ConfigError, match=r"smtp_password: the password of alarms\.smtp"
    ):
        AlarmSender(config)
    path.parent.mkdir(exist_ok=True)
    path.write_text("secret\n")
    path.chmod(0o644)
    with pytest.raises(ConfigError, match="others may read the password; chmod 600 it"):
        AlarmSender(config)
    os.chmod(path, 0o600)
    AlarmSender(config)


@pytest.mark.parametrize(
    ("section", "said"),
    [
        ({"mail_to": ["a@b"]}, "mail_to needs mail_from and smtp_host, too"),
        ({"smtp_user": "me"}, "would send a password in the clear"),
        ({"webhook_url": "ftp://x"}, "URL scheme should be"),
        ({"mail_to": ["nobody"]}, "String should match pattern"),
        ({"webhok_url": "http://x"}, "Extra inputs are not permitted"),
    ],
)
def test_a_wrong_section_is_refused(section, said) -> None:
    with pytest.raises(ValidationError, match=said):
        AlarmsSection(**section)


def test_the_complete_example_has_the_section() -> None:
    import cryoline.sim

    folder = os.path.dirname(cryoline.sim.__file__)
    with open(os.path.join(folder, "instrument.toml"), "rb") as example:
        assert "alarms" in tomllib.load(example)
