"""Who acts, for whom, from where."""

from dataclasses import dataclass, field
from datetime import datetime
from uuid import UUID

from app.errors import NotPermitted


@dataclass(frozen=True, slots=True)
class Actor:
    """An authenticated person or system in one appointment; immutable, made at the edge, passed everywhere."""

    user_id: UUID
    login: str
    role: str
    appointment_id: UUID
    agency_id: UUID  # the agency or unit of the appointment
    agency_name: str
    body_id: UUID  # the institution it belongs to
    acts_for_ids: tuple[UUID, ...]  # in whose name it acts: itself, its body, for a police station its police agency
    session_id: UUID
    expires_at: datetime
    terminal_id: UUID | None = None
    duty_id: UUID | None = None
    address: str = ""
    zone: str = "default"
    is_system: bool = False  # a machine's account: it asks on behalf of officers, whom it names
    capabilities: frozenset[str] = field(default_factory=frozenset)

    def may(self, capability: str) -> bool:
        """Whether the actor's role has the capability; which cameras it then concerns is for `rights` to say."""
        return capability in self.capabilities

    def must(self, capability: str) -> None:
        """NotPermitted, which names the capability, unless the actor's role has it."""
        if not self.may(capability):
            raise NotPermitted(f"the role {self.role} may not do this; it takes {capability}", missing=capability)
