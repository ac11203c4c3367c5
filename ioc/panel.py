"""Records of one instrument: how they are declared, shown, and refuse values.

Out records do not use DRVL and DRVH, because EPICS would clamp to them silently;
their limits are LOPR and HOPR, and `validate` refuses what lies beyond.
"""

from collections.abc import Awaitable, Callable
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from softioc import alarm, builder

from cryoline.ioc.dispatcher import Dispatcher

__all__ = ["MESSAGE_LENGTH", "Panel"]

MESSAGE_LENGTH: Final = 1024
Handler = Callable[[Any], Awaitable[None]]


class Panel:
    """The records under one prefix.

    prefix: ends with ":", as in "SIM:POT1:"
    """

    def __init__(self, prefix: str, dispatcher: Dispatcher) -> None:
        self.prefix = prefix
        self._dispatcher = dispatcher
        self._records: dict[str, Any] = {}
        self._shown: dict[str, Any] = {}
        self._told: dict[str, Any] = {}
        self._refusal = ""
        self._reported = ""
        self._add(
            "Message_RBV",
            builder.longStringIn,
            "Why the last request was refused",
            length=MESSAGE_LENGTH,
            EGU="text",
        )

    def number(
        self,
        name: str,
        description: str,
        unit: str,
        low: float,
        high: float,
        *,
        precision: int = 6,
        alarms: dict[str, Any] | None = None,
    ) -> None:
        """Declare a reading; `alarms` holds EPICS fields such as HIGH and HSV."""
        self._add(
            name,
            builder.aIn,
            description,
            EGU=unit,
            LOPR=low,
            HOPR=high,
            PREC=precision,
            **(alarms or {}),
        )

    def constant(self, name: str, description: str, unit: str, value: float) -> None:
        """Declare a number that never changes."""
        self._add(
            name,
            builder.aIn,
            description,
            EGU=unit,
            LOPR=min(value, 0.0),
            HOPR=max(value, 0.0),
            PREC=3,
            initial_value=value,
        )

    def count(
        self, name: str, description: str, unit: str, high: int = 2**31 - 1
    ) -> None:
        """Declare a whole number to be read."""
        self._add(name, builder.longIn, description, EGU=unit, LOPR=0, HOPR=high)

    def text(self, name: str, description: str) -> None:
        """Declare a text of up to 39 bytes to be read."""
        self._add(name, builder.stringIn, description)

    def flag(self, name: str, description: str, off: str, on: str, **sev: str) -> None:
        """Declare a flag to be read; `sev` may hold ZSV or OSV."""
        self._add(name, builder.boolIn, description, ZNAM=off, ONAM=on, **sev)

    def choice(self, name: str, description: str, *options: Any) -> None:
        """Declare a state to be read; an option may carry a severity."""
        self._add(name, builder.mbbIn, description, *options)

    def array(self, name: str, description: str, length: int) -> None:
        """Declare an array of doubles to be read."""
        self._add(
            name,
            builder.WaveformIn,
            description,
            length=length,
            datatype=float,
            EGU="by column",
            PREC=9,
        )

    def long_text(
        self, name: str, description: str, length: int, text: str = ""
    ) -> None:
        """Declare a text of any length to be read."""
        self._add(
            name,
            builder.longStringIn,
            description,
            length=length,
            initial_value=text,
            EGU="text",
        )

    def set_number(
        self,
        name: str,
        description: str,
        unit: str,
        low: float,
        high: float,
        handler: Handler,
        *,
        whole: bool = False,
    ) -> None:
        """Declare a number to be written; beyond its limits it is refused."""
        # "1" is the unit of a plain number; behind a value it would be misread.
        in_unit = "" if unit == "1" else f" {unit}"

        def validate(_record: Any, value: float) -> bool:
            if low <= value <= high:
                return True
            self.refuse(
                f"{self.prefix}{name}: {value:g}{in_unit} is outside "
                f"{low:g}..{high:g}{in_unit}; choose a value in between"
            )
            return False

        fields: dict[str, Any] = {} if whole else {"PREC": 3}
        self._add(
            name,
            builder.longOut if whole else builder.aOut,
            description,
            EGU=unit,
            LOPR=low,
            HOPR=high,
            initial_value=0,
            validate=validate,
            **self._writing(handler),
            **fields,
        )

    def set_flag(
        self,
        name: str,
        description: str,
        off: str,
        on: str,
        handler: Handler,
        *,
        notice: Callable[[int], None] | None = None,
    ) -> None:
        """Declare a flag to be written; `notice` hears of it as a beat is heard."""

        def noticed(_record: Any, value: int) -> bool:
            if notice is not None:
                notice(value)
            return True

        self._add(
            name,
            builder.boolOut,
            description,
            ZNAM=off,
            ONAM=on,
            initial_value=0,
            validate=noticed,
            **self._writing(handler),
        )

    def set_choice(
        self, name: str, description: str, options: tuple[str, ...], handler: Handler
    ) -> None:
        """Declare a choice to be written."""
        self._add(
            name,
            builder.mbbOut,
            description,
            *options,
            initial_value=0,
            **self._writing(handler),
        )

    def set_text(
        self, name: str, description: str, length: int, handler: Handler
    ) -> None:
        """Declare a long text to be written."""
        self._add(
            name,
            builder.longStringOut,
            description,
            length=length,
            EGU="text",
            **self._writing(handler),
        )

    def set_beat(
        self, name: str, description: str, on_beat: Callable[[], None]
    ) -> None:
        """Declare a whole number whose every put is noticed at once.

        `on_beat` is called in the thread of EPICS that took the put, so it must be
        quick; the event loop may be as late as it likes.
        """

        def noticed(_record: Any, _value: int) -> bool:
            on_beat()
            return True

        self._add(
            name,
            builder.longOut,
            description,
            EGU="beats",
            LOPR=0,
            HOPR=2**31 - 1,
            initial_value=0,
            validate=noticed,
            always_update=True,
        )

    def refuse(self, why: str) -> None:
        """Show why a request was refused, before its put completes."""
        self._refusal = why
        self._show_message()

    def accept(self) -> None:
        """Forget the last refusal."""
        self._refusal = ""
        self._show_message()

    def show(self, values: dict[str, Any], *, at_once: bool = False) -> None:
        """Show values of the world; at once if a put waits for them to be seen."""
        self._reported = str(values.get("Message_RBV", ""))
        self._show_message()
        for name, value in values.items():
            if name == "Message_RBV":
                continue
            if name.endswith("_RBV"):
                self._show_reading(name, value, at_once=at_once)
            elif at_once or self._told.get(name) != value:
                # Else a put that is just being handled would be undone by an answer
                # of the world that is older.
                self._told[name] = value
                self._show_setting(name, value)

    def show_value(self, name: str, value: Any, *, at_once: bool = False) -> None:
        """Show one reading."""
        self._show_reading(name, value, at_once=at_once)

    def show_array(self, name: str, values: NDArray[np.float64]) -> None:
        """Show an array before the put that asked for it completes."""
        self._records[name].set(values)
        _process(self._records[name])

    def invalidate(self, *names: str) -> None:
        """Mark these readings, or all, as INVALID: what is behind them is gone.

        Showing a reading again makes it valid.
        """
        for name in names or [n for n in self._records if n.endswith("_RBV")]:
            record = self._records[name]
            record.set_alarm(alarm.INVALID_ALARM, alarm.COMM_ALARM)
            _process(record)
            self._shown.pop(name, None)

    def _show_message(self) -> None:
        # A list of bytes would be cut in the middle of a character: cut, then decode.
        text = self._refusal or self._reported
        text = text.encode()[: MESSAGE_LENGTH - 1].decode(errors="ignore")
        if self._shown.get("Message_RBV") != text:
            self._shown["Message_RBV"] = text
            record = self._records["Message_RBV"]
            if text:
                record.set(text, alarm.MINOR_ALARM, alarm.WRITE_ALARM)
            else:
                record.set(text)
            _process(record)

    def _show_reading(self, name: str, value: Any, *, at_once: bool) -> None:
        if self._shown.get(name) == value:
            return
        self._shown[name] = value
        record = self._records[name]
        record.set(value)
        if at_once:
            _process(record)

    def _show_setting(self, name: str, value: Any) -> None:
        record = self._records[name]
        if record.get() == value:
            return
        record.set(value, process=False)
        if record.get_field("PACT") != "0":
            # Its put is being handled, and shows the value when it completes. To
            # process it now would put the value once more.
            return
        with self._dispatcher.muted():
            _process(record)  # clients' monitors see the change

    @staticmethod
    def _writing(handler: Handler) -> dict[str, Any]:
        return {"on_update": handler, "always_update": True, "blocking": True}

    def _add(
        self, name: str, make: Any, description: str, *options: Any, **fields: Any
    ) -> None:
        builder.SetDeviceName(self.prefix.rstrip(":"))
        self._records[name] = make(name, *options, DESC=description, **fields)


def _process(record: Any) -> None:
    """Process a record now, in this thread, instead of by EPICS' scan queue."""
    record.set_field("PROC", "1")
