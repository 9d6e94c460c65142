"""Roles and what they let a person do. A role opens a door; which cameras stand behind it is for `rights` to say."""

VERBS = ("locate", "request", "view", "playback", "ptz", "export")

# Any of these lets an officer of the owner decide about a request to view (see approvals).
DECIDES = ("approve", "agree", "supervise")

_REGISTERS = {"read_registers", "keep_registers"}
_SEES = {"locate", "request", "view", "feed"}

ROLES: dict[str, frozenset[str]] = {
    # the city's own center
    "operator": frozenset(_SEES | {"ptz"}),
    "shift_lead": frozenset(_SEES | {"ptz", "playback", "supervise"}),
    "agency_head": frozenset({"locate", "request", "agree", "supervise", "feed", "erase"} | _REGISTERS),
    # keeps the cameras' register and the officials' registers; no footage
    "admin": frozenset({"locate", "register", "administer", "agree", "feed", "erase"} | _REGISTERS),
    "privacy_officer": frozenset({"locate", "read_audit"} | _REGISTERS),  # answers for personal data; no footage
    # who comes with a call: rooms, cars and trucks, and officers seconded to the center
    "room": frozenset(_SEES | {"ptz", "emergency", "ingest"}),  # of others' cameras only where the agreement says ptz
    "field": frozenset(_SEES),
    "seconded": frozenset(_SEES | {"approve"}),  # never ptz: stationed police do not steer
    # the others
    "integration": frozenset({"locate", "ingest", "feed"}),
    "auditor": frozenset({"read_audit", "read_registers"}),  # reads everything in the remit, and no footage
    "oversight": frozenset({"read_statistics"}),
    "guardian": frozenset({"report"}),  # civil patrol: may report and receive alerts, sees no footage
}

LABELS = {
    "operator": "관제요원",
    "shift_lead": "관제 조장",
    "agency_head": "기관장",
    "admin": "관리자",
    "privacy_officer": "개인정보 보호책임자",
    "room": "상황실",
    "field": "출동대",
    "seconded": "파견 경찰",
    "integration": "연계 시스템",
    "auditor": "감사자",
    "oversight": "감독기관",
    "guardian": "안전지킴이",
}
