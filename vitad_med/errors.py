"""Errors that a user can mend. Each message names the file or key and the remedy, in one sentence or two."""

from __future__ import annotations


class VitadError(Exception):
    """Base of every error that is the input's fault rather than the program's; the command line prints it bare."""


class ConfigError(VitadError):
    """A configuration key or command-line option has a wrong name or value."""


class DataError(VitadError):
    """A data set, table or image file is missing, malformed or contradicts itself."""


class WeightsError(VitadError):
    """Weights or a checkpoint cannot be found, read, or used with this network."""


class StorageError(VitadError):
    """A result could not be written; nothing half-written is left behind."""


class ArchiveError(VitadError):
    """An archive does not answer or does not let this machine in; what was to be sent is kept and can be sent again."""
