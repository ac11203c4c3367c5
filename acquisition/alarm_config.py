"""The section `[alarms]` of an instrument.toml: whom to tell, and how."""

from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, HttpUrl, model_validator

__all__ = ["AlarmsSection"]


class AlarmsSection(BaseModel):
    """Whom the analysis worker tells of an alarm; nobody, if it is left out."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    webhook_url: HttpUrl | None = None
    """Alarms are sent there by POST, as JSON with a ``text``, as chat programs take."""
    mail_to: tuple[Annotated[str, Field(pattern=r"^\S+@\S+$")], ...] = ()
    mail_from: Annotated[str, Field(pattern=r"^\S+@\S+$")] | None = None
    smtp_host: Annotated[str, Field(min_length=1)] | None = None
    smtp_port: Annotated[int, Field(gt=0, le=65535)] = 25
    smtp_security: Literal["none", "starttls", "tls"] = "none"
    smtp_user: str | None = None
    smtp_password_file: Path = Path("smtp_password")
    """Relative to the data directory; mode 0600. CRYOLINE_SMTP_PASSWORD wins."""
    severity: Literal["minor", "major"] = "minor"
    """The least severe that is sent."""
    age_max_h: Annotated[float, Field(gt=0)] = 24.0
    """Older alarms are history: another version of the analysis finds them anew."""

    @model_validator(mode="after")
    def _mail_is_whole(self) -> Self:
        missing = [n for n in ("mail_from", "smtp_host") if getattr(self, n) is None]
        if self.mail_to and missing:
            raise ValueError(f"mail_to needs {' and '.join(missing)}, too")
        if self.smtp_user and self.smtp_security == "none":
            raise ValueError(
                "smtp_user would send a password in the clear; "
                'set smtp_security to "starttls" or "tls"'
            )
        return self

    @property
    def channels(self) -> tuple[str, ...]:
        """The ways that are configured: ``webhook``, ``mail``."""
        ways = {"webhook": self.webhook_url, "mail": self.mail_to}
        return tuple(name for name, is_set in ways.items() if is_set)
