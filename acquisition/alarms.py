"""Tells a person of alarms: by a webhook, by e-mail, or both.

Part of the analysis worker, in a thread of its own: a mail server that hangs holds up
neither the analysis nor, of course, the session, which knows nothing of it. What can't
be sent waits on disk and is tried again, all that waits in one message.
"""

import json
import logging
import os
import smtplib
import ssl
import stat
import threading
import time
import urllib.request
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from email.message import EmailMessage
from pathlib import Path
from typing import Any, Final, Self, TypeAlias

from cryoline.acquisition.alarm_config import AlarmsSection
from cryoline.acquisition.alarm_outbox import AlarmOutbox
from cryoline.acquisition.config import Config
from cryoline.acquisition.errors import ConfigError

__all__ = ["PASSWORD_VARIABLE", "AlarmSender", "send_mail", "send_to_webhook"]

PASSWORD_VARIABLE: Final = "CRYOLINE_SMTP_PASSWORD"

Alarm: TypeAlias = Mapping[str, Any]

_ANSWER_S: Final = 10.0
_FIRST_WAIT_S: Final = 1.0
_LONGEST_WAIT_S: Final = 600.0
"""[A] a server that is back is found within this."""
_LISTED: Final = 50
"""[A] a message names so many alarms; the others are counted."""

_log = logging.getLogger(__name__)


class AlarmSender:
    """Owns the outbox, and sends what is in it until it is closed.

    Raises ConfigError if the password's file can be read by others.
    """

    def __init__(self, config: Config) -> None:
        self._section = config.alarms
        self._name = config.instrument.name
        self._password = _password(config)
        self._stop = threading.Event()
        self._news = threading.Event()
        self.outbox = AlarmOutbox(
            config.layout.services / "alarms", config.alarms, self._news.set
        )
        self.problem = ""
        """Why alarms wait, if they do."""
        self._failures = dict.fromkeys(self.outbox.channels, 0)
        self._not_before = dict.fromkeys(self.outbox.channels, 0.0)
        self._thread = threading.Thread(target=self._run, name="alarms", daemon=True)

    def __enter__(self) -> Self:
        if self.outbox.channels:
            self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._news.set()
        if self._thread.is_alive():
            # A daemon: a server that hangs does not keep the worker from ending.
            self._thread.join(_FIRST_WAIT_S)

    def _run(self) -> None:
        while not self._stop.is_set():
            self._news.clear()
            for channel in self.outbox.channels:
                if time.monotonic() >= self._not_before[channel]:
                    self._try(channel)
            self._news.wait(_FIRST_WAIT_S)

    def _try(self, channel: str) -> None:
        alarms = self.outbox.waiting(channel)
        if not alarms:
            return
        try:
            if channel == "webhook":
                send_to_webhook(str(self._section.webhook_url), self._name, alarms)
            else:
                send_mail(self._section, self._name, alarms, self._password)
        except (OSError, smtplib.SMTPException) as error:
            self._failures[channel] += 1
            wait_s = _FIRST_WAIT_S * 2.0 ** min(self._failures[channel], 20)
            self._not_before[channel] = time.monotonic() + min(wait_s, _LONGEST_WAIT_S)
            said = f"{type(error).__name__}: {error}"
            self.problem = f"{len(alarms)} alarms wait for the {channel}: {said}"
            _log.warning("%s", self.problem)
            return
        self._failures[channel] = 0
        self.problem = ""
        self.outbox.sent(channel, alarms)
        _log.info("%d alarms sent by %s", len(alarms), channel)


def send_to_webhook(url: str, instrument: str, alarms: Sequence[Alarm]) -> None:
    """POST alarms as JSON; raises OSError if the server does not take them."""
    content = {
        "instrument": instrument,
        "text": f"{_subject(instrument, alarms)}\n{_listed(alarms)}",
        "alarms": list(alarms),
    }
    request = urllib.request.Request(
        url,
        json.dumps(content).encode(),
        {"Content-Type": "application/json", "User-Agent": "cryoline"},
    )
    with urllib.request.urlopen(request, timeout=_ANSWER_S):
        pass  # what is no 2xx in the end has raised


def send_mail(
    section: AlarmsSection,
    instrument: str,
    alarms: Sequence[Alarm],
    password: str | None = None,
) -> None:
    """Mail alarms; raises OSError or SMTPException if the server does not take them."""
    message = EmailMessage()
    message["Subject"] = _subject(instrument, alarms)
    message["From"] = section.mail_from
    message["To"] = ", ".join(section.mail_to)
    message.set_content(f"{_listed(alarms)}\n")
    host, port = str(section.smtp_host), section.smtp_port
    trusted = ssl.create_default_context()
    server = (
        smtplib.SMTP_SSL(host, port, timeout=_ANSWER_S, context=trusted)
        if section.smtp_security == "tls"
        else smtplib.SMTP(host, port, timeout=_ANSWER_S)
    )
    with server:
        if section.smtp_security == "starttls":
            server.starttls(context=trusted)
        if section.smtp_user:
            server.login(section.smtp_user, password or "")
        server.send_message(message)


def _subject(instrument: str, alarms: Sequence[Alarm]) -> str:
    first = alarms[0]
    what = f"{first['kind']} in {first['run']}"
    more = f" and {len(alarms) - 1} more" if len(alarms) > 1 else ""
    return f"{instrument}: {what}{more}"


def _listed(alarms: Sequence[Alarm]) -> str:
    lines = []
    for alarm in alarms[:_LISTED]:
        at = datetime.fromtimestamp(alarm["time"], tz=UTC).isoformat(timespec="seconds")
        specimen = f"{alarm['specimen']}: " if alarm["specimen"] else ""
        lines.append(f"{at} {alarm['severity']}: {specimen}{alarm['message']}")
    if len(alarms) > _LISTED:
        lines.append(f"and {len(alarms) - _LISTED} more")
    return "\n".join(lines)


def _password(config: Config) -> str | None:
    """Return the mail server's password, from the environment or its file."""
    if not config.alarms.smtp_user:
        return None
    if from_environment := os.environ.get(PASSWORD_VARIABLE):
        return from_environment
    path: Path = config.layout.root / config.alarms.smtp_password_file
    try:
        if path.stat().st_mode & (stat.S_IRWXG | stat.S_IRWXO):
            raise ConfigError(f"{path}: others may read the password; chmod 600 it")
        return path.read_text("utf-8").strip()
    except OSError as error:
        raise ConfigError(
            f"{path}: the password of alarms.smtp_user can't be read: "
            f"{error.strerror}; write it there, or set {PASSWORD_VARIABLE}"
        ) from error
