"""The failures a user can mend; each kind has its own exit code.

Messages name the subject first, then what was found, what was wanted, and the way out.
"""


class PosecliError(Exception):
    """Something outside the program is wrong; the message says what and how to mend it."""

    exit_code = 1

    def __str__(self) -> str:
        """Return the message as one line: names of files may hold line breaks and terminal codes."""
        return "".join(sign if sign.isprintable() else ascii(sign)[1:-1] for sign in super().__str__())


class ConfigError(PosecliError):
    """An option or configuration value cannot be used."""

    exit_code = 2


class PartialError(PosecliError):
    """Some source or frame failed; the rest is written."""

    exit_code = 3


class InputError(PosecliError):
    """An image, video or annotation file cannot be used."""

    exit_code = 4


class WeightsError(PosecliError):
    """Weights are missing, damaged or made for another network."""

    exit_code = 5


class DeviceError(PosecliError):
    """A device is absent or out of memory."""

    exit_code = 6
