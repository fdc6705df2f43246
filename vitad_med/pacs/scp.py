"""The storage service class provider (PS3.4 B): who may send, what is taken, and what is answered."""

from __future__ import annotations

import ipaddress
import logging
import ssl
import time
from collections.abc import Sequence
from dataclasses import dataclass
from io import BytesIO

from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import write_file_meta_info
from pydicom.uid import (
    UID,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
)
from pynetdicom import AE, evt
from pynetdicom.dimse_primitives import C_STORE
from pynetdicom.dsutils import create_file_meta
from pynetdicom.events import Event, EventHandlerType

from vitad_med.data.dicom.codes import PROJECTION_RADIOGRAPHY, SECONDARY_CAPTURE
from vitad_med.data.dicom.pixels import DECODERS
from vitad_med.errors import ConfigError
from vitad_med.pacs.address import check_ae_title, is_loopback
from vitad_med.pacs.inbox import Inbox, Refused

logger = logging.getLogger(__name__)

CLASSES = (*sorted(PROJECTION_RADIOGRAPHY), SECONDARY_CAPTURE)
SYNTAXES: tuple[UID, ...] = (
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    ExplicitVRBigEndian,
    *DECODERS,
)
"""Those that :mod:`vitad_med.data.dicom.pixels` decodes; not the deflated one, whose short messages may be huge."""

VERIFICATION = "1.2.840.10008.1.1"
SUCCESS = 0x0000
LARGEST = 300 * 2**20
"""Bytes of one image: twice those of the largest that is decoded, and its header. A longer one ends the association."""

_PERMANENT, _TRANSIENT = 1, 2
_USER, _PROVIDER = 1, 3
_CALLING_UNKNOWN, _CONGESTION = 3, 1


@dataclass(frozen=True, slots=True)
class Peer:
    """Who may send.

    Attributes:
        ae_title: that it calls itself.
        address: where it calls from.
    """

    ae_title: str
    address: ipaddress.IPv4Address | ipaddress.IPv6Address

    @classmethod
    def parse(cls, text: str) -> Peer:
        """From ``AE@IP``.

        Raises:
            ConfigError: it is not that.
        """
        title, _, address = text.rpartition("@")
        try:
            return cls(check_ae_title(title), ipaddress.ip_address(address))
        except (ValueError, ConfigError) as error:
            raise ConfigError(f"--allow '{text}' is not AE@IP, e.g. MODALITY1@10.0.0.17") from error


@dataclass(frozen=True, slots=True)
class Port:
    """Where the listener listens, and to whom.

    Attributes:
        port: 0 takes one that is free.
        host: of this machine; another than the loopback needs ``allow``.
        ae_title: that it must be called by.
        allow: who may send; empty is anybody on this machine.
        associations: at once, at most.
        idle: seconds after which a silent association ends.
        tls: context of encrypted associations, or None.
        largest: bytes of one image.
    """

    port: int
    host: str = "127.0.0.1"
    ae_title: str = "VITADMED"
    allow: tuple[Peer, ...] = ()
    associations: int = 8
    idle: float = 60.0
    tls: ssl.SSLContext | None = None
    largest: int = LARGEST

    def __post_init__(self) -> None:
        check_ae_title(self.ae_title)
        if not self.allow and not is_loopback(self.host):
            raise ConfigError(
                f"--host {self.host} can be reached from other machines: name those that may send, --allow AE@IP"
            )


class StoreProvider:
    """Takes images into an inbox until it is stopped.

    Args:
        port: where, and from whom.
        inbox: where images go.

    Raises:
        ConfigError: the port is taken, or the host is not of this machine.
    """

    def __init__(self, port: Port, inbox: Inbox) -> None:
        self._port = port
        self._inbox = inbox
        self._closing = False
        self._entity = AE(ae_title=port.ae_title)
        self._entity.require_called_aet = True
        self._entity.maximum_associations = port.associations
        self._entity.network_timeout = port.idle
        self._entity.acse_timeout = 15
        for sop_class in CLASSES:
            self._entity.add_supported_context(sop_class, list(SYNTAXES))
        self._entity.add_supported_context(VERIFICATION)
        handlers: list[EventHandlerType] = [
            (evt.EVT_REQUESTED, self._admit),
            (evt.EVT_PDU_RECV, self._measure),
            (evt.EVT_C_ECHO, lambda event: SUCCESS),
            (evt.EVT_C_STORE, self._store),
        ]
        try:
            server = self._entity.start_server(
                (port.host, port.port), block=False, ssl_context=port.tls, evt_handlers=handlers
            )
        except OSError as error:
            raise ConfigError(
                f"--port {port.port} on {port.host} cannot be listened to: {error.strerror}; choose another"
            ) from error
        assert server is not None
        self._server = server

    @property
    def port(self) -> int:
        """The port that it listens to."""
        return int(self._server.server_address[1])

    def stop(self, patience: float = 10.0) -> None:
        """Take no new associations, let those that are open end, and abort them after so many seconds.

        What was not acknowledged then is with its sender still.
        """
        self._closing = True
        open_ones = self._server.active_associations
        self._server.shutdown()
        deadline = time.monotonic() + patience
        while any(one.is_alive() for one in open_ones) and time.monotonic() < deadline:
            time.sleep(0.05)
        for one in open_ones:
            if one.is_alive():
                one.abort()

    def _admit(self, event: Event) -> None:
        """Reject who is not on the list (PS3.8 9.3.4); the called title and the number are pynetdicom's to check."""
        if self._closing:
            event.assoc.acse.send_reject(_TRANSIENT, _PROVIDER, _CONGESTION)
        elif self._port.allow and not self._allowed(event):
            logger.warning("an association was rejected: the caller is not on the list of --allow")
            event.assoc.acse.send_reject(_PERMANENT, _USER, _CALLING_UNKNOWN)
        else:
            self._tell_of_title(event)
            return
        event.assoc.kill()

    def _tell_of_title(self, event: Event) -> None:
        """pynetdicom rejects a wrong called title, and says so to nobody here."""
        request = event.assoc.requestor.primitive
        called = str(request.called_ae_title or "").strip() if request is not None else ""
        if called != self._port.ae_title:
            logger.warning("an association was rejected: it calls another AE title than %s", self._port.ae_title)

    def _allowed(self, event: Event) -> bool:
        request = event.assoc.requestor.primitive
        title = str(request.calling_ae_title or "").strip() if request is not None else ""
        address = ipaddress.ip_address(event.assoc.requestor.address.partition("%")[0])
        if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
            address = address.ipv4_mapped
        return Peer(title, address) in self._port.allow

    def _measure(self, event: Event) -> None:
        """End an association whose image grows beyond measure, before it fills the memory."""
        message = event.assoc.dimse.message
        data = getattr(message, "data_set", None)
        if isinstance(data, BytesIO) and data.tell() > self._port.largest:
            logger.warning("an association was aborted: its image has more than %d bytes", self._port.largest)
            event.assoc.abort(block=False)

    def _store(self, event: Event) -> int:
        request = event.request
        assert isinstance(request, C_STORE)
        sop_class, instance = UID(request.AffectedSOPClassUID or ""), UID(request.AffectedSOPInstanceUID or "")
        meta = create_file_meta(
            sop_class_uid=sop_class,
            sop_instance_uid=instance,
            transfer_syntax=UID(event.context.transfer_syntax),
        )
        head = DicomBytesIO()
        head.write(b"\0" * 128 + b"DICM")
        write_file_meta_info(head, meta)
        try:
            name = self._inbox.receive(event.encoded_dataset(include_meta=False), head.getvalue(), str(instance))
        except Refused as refusal:
            logger.warning("an image was refused with status %04X: %s", refusal.status, refusal)
            return refusal.status
        logger.info("image %s received", name)
        return SUCCESS


def describe_allowed(allow: Sequence[Peer]) -> str:
    """Who may send, in words."""
    return ", ".join(f"{peer.ae_title}@{peer.address}" for peer in allow) or "anybody on this machine"
