"""Tables only, one file a noun, no behaviour."""

from app.models.agency import AGENCY_KINDS, UNIT_KINDS, Agency, AgencyMove, Area
from app.models.agreement import Agreement
from app.models.base import Table
from app.models.camera import (
    STATUSES,
    Asset,
    CameraPosition,
    Device,
    Import,
    ImportFinding,
    Recorder,
    Site,
    StreamSource,
    Unit,
)
from app.models.event import Alarm, Condition, Event, EventKey, EventSource, EventVerdict
from app.models.grant import (
    GRANT_KINDS,
    Approval,
    GatewayRecord,
    Grant,
    IdempotencyKey,
    Manifest,
    ManifestCamera,
    Node,
    Showing,
    Tour,
    View,
)
from app.models.ledger import (
    AuditCheckpoint,
    AuditEntry,
    AuditLeaf,
    AuditNode,
    AuditPending,
    EventPending,
    EventPosition,
    LedgerHead,
)
from app.models.person import Appointment, Credential, Duty, KnownAddress, LoginPace, Session, Terminal, Ticket, User
from app.models.webhook import DeadLetter, Webhook

__all__ = [
    "AGENCY_KINDS", "GRANT_KINDS", "STATUSES", "UNIT_KINDS", "Agency", "AgencyMove", "Agreement", "Alarm",
    "Appointment", "Approval", "Area", "Asset", "AuditCheckpoint", "AuditEntry", "AuditLeaf", "AuditNode",
    "AuditPending", "CameraPosition", "Condition", "Credential", "DeadLetter", "Device", "Duty", "Event",
    "EventKey", "EventPending", "EventPosition", "EventSource", "EventVerdict", "GatewayRecord", "Grant",
    "IdempotencyKey", "Import", "ImportFinding", "KnownAddress", "LedgerHead", "LoginPace", "Manifest",
    "ManifestCamera", "Node", "Recorder", "Session", "Showing", "Site", "StreamSource", "Table", "Terminal",
    "Ticket", "Tour", "Unit", "User", "View", "Webhook",
]  # fmt: skip
