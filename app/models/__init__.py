"""Tables only, one file a noun, no behaviour."""

from app.models.agency import (
    AGENCY_KINDS,
    UNIT_KINDS,
    Agency,
    AgencyGroup,
    AgencyGroupMember,
    AgencyMove,
    Area,
    Jurisdiction,
)
from app.models.agreement import Agreement
from app.models.asset import ASSET_KINDS, Asset, LifeChange, Outage
from app.models.base import Table
from app.models.camera import (
    STATUSES,
    CameraPosition,
    Device,
    Recorder,
    RegisterChange,
    Site,
    StreamSource,
    Unit,
)
from app.models.control import CameraControl, CameraReach, Loss, LossMember, PtzHead, PtzLease, ReachShard
from app.models.erasure import AuditRewrite, ErasureDecision, ErasureOrder
from app.models.event import (
    Alarm,
    Condition,
    Event,
    EventKey,
    EventSource,
    EventVerdict,
    RestrictedIncident,
)
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
from app.models.imports import IMPORT_STATES, Import, ImportChange, ImportFinding
from app.models.ledger import (
    AuditCheckpoint,
    AuditEntry,
    AuditLeaf,
    AuditNode,
    AuditPending,
    EventPending,
    EventPosition,
    LateRecord,
    LedgerHead,
    Telling,
)
from app.models.person import Appointment, Credential, Duty, KnownAddress, LoginPace, Session, Terminal, Ticket, User
from app.models.register import FORMS, MEDIA, PROVISION_KINDS, Provision, Publication, PublishedProvision
from app.models.review import ConflictArea, LateEntry, Review, ReviewFinding, SubjectRequest, SubjectRequestPerson
from app.models.webhook import DeadLetter, Webhook
from app.models.witness import WitnessCheckpoint, WitnessRefusal

__all__ = [
    "AGENCY_KINDS", "ASSET_KINDS", "FORMS", "GRANT_KINDS", "IMPORT_STATES", "MEDIA", "PROVISION_KINDS", "STATUSES",
    "UNIT_KINDS", "Agency", "AgencyGroup", "AgencyGroupMember", "AgencyMove", "Agreement", "Alarm", "Appointment",
    "Approval", "Area", "Asset", "AuditCheckpoint", "AuditEntry", "AuditLeaf", "AuditNode", "AuditPending",
    "AuditRewrite", "CameraControl", "CameraPosition", "CameraReach", "Condition", "ConflictArea", "Credential",
    "DeadLetter", "Device", "Duty", "ErasureDecision", "ErasureOrder", "Event", "EventKey", "EventPending",
    "EventPosition", "EventSource", "EventVerdict", "GatewayRecord", "Grant", "IdempotencyKey", "Import",
    "ImportChange", "ImportFinding", "Jurisdiction", "KnownAddress", "LateEntry", "LateRecord", "LedgerHead",
    "LifeChange", "LoginPace", "Loss", "LossMember", "Manifest", "ManifestCamera", "Node", "Outage", "Provision",
    "PtzHead", "PtzLease", "Publication", "PublishedProvision", "ReachShard", "Recorder", "RegisterChange",
    "RestrictedIncident", "Review", "ReviewFinding", "Session", "Showing", "Site", "StreamSource", "SubjectRequest",
    "SubjectRequestPerson", "Table", "Telling", "Terminal", "Ticket", "Tour", "Unit", "User", "View", "Webhook",
    "WitnessCheckpoint", "WitnessRefusal",
]  # fmt: skip
