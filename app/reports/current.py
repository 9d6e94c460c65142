"""What holds of each provision: its newest version; of a live view that nobody amended, what its grant tells.

A grant is a row when it shows another agency the owner's camera (제공), or the owner its own beyond the camera's
purpose (목적 외 이용). Nothing is copied when it is given: the grant path knows nothing of registers.
"""

from app.access.codes import BASES
from app.events.catalogue import ALARM

OUT_OF_PURPOSE = "KR-PIPA-18-2-"
LIVE_ITEMS = "개인영상정보(실시간 영상)"
PUBLISHED_BASES = tuple(basis.code for basis in BASES.values() if basis.published)

COLUMNS = (
    "id", "version", "at", "note", "owner_agency_id", "grant_id", "provided_at", "kind", "out_of_purpose", "basis",
    "law", "document_number", "purpose", "crime", "reason", "camera_ids", "place", "recorded_from", "recorded_to",
    "file_name", "form", "medium", "items", "pledged", "requester", "recipient", "kept_until", "destroy_due",
    "destroyed_on", "destruction", "safety_asked", "safety_result", "arrest", "in_charge", "witness", "approvals",
    "exercise", "restriction",
)  # fmt: skip

# A grant's own restriction, or that of the alarm or the incident that it answers: these may have begun long before.
RESTRICTED = f"""
SELECT id, incident_id, restriction FROM events
WHERE restriction <> '' AND (severity >= {ALARM} OR incident_id IS NOT NULL)
    AND at >= CAST(:since AS timestamptz) - interval '31 days' AND at < :until
UNION ALL SELECT NULL, incident_id, restriction FROM restricted_incidents
"""  # noqa: S608 - our own SQL
# The time of a grant is the time of seeing that it allowed; what was seen within it stands with the views.
_OF_GRANTS = f"""
SELECT g.id, 0 AS version, g.at, '' AS note, g.owner_agency_id, g.id AS grant_id, g.at AS provided_at,
    CASE WHEN g.owner_agency_id = ANY(a.acts_for_ids) THEN 'use' ELSE 'provide' END AS kind,
    g.basis LIKE '{OUT_OF_PURPOSE}%' AS out_of_purpose, g.basis, '' AS law,
    coalesce((SELECT string_agg(r ->> 'number', ', ') FROM jsonb_array_elements(g.refs) r), '') AS document_number,
    g.use_purpose AS purpose, '' AS crime, '' AS reason, g.camera_ids, '' AS place, g.at AS recorded_from,
    least(g.revoked_at, g.expires_at) AS recorded_to, '' AS file_name, 'live' AS form, 'network' AS medium,
    '{LIVE_ITEMS}' AS items, NULL::boolean AS pledged, p.party AS requester, p.party AS recipient,
    NULL::date AS kept_until, NULL::date AS destroy_due, NULL::date AS destroyed_on, '' AS destruction,
    coalesce(nullif(g.conditions, ''), t.condition, '') AS safety_asked, '' AS safety_result,
    NULL::boolean AS arrest, coalesce(d.name, '') AS in_charge, '' AS witness, '[]'::jsonb AS approvals, g.exercise,
    coalesce(nullif(g.restriction, ''), alarm.restriction, incident.restriction, '') AS restriction,
    a.acts_for_ids AS acted_for
FROM grants g
JOIN agencies a ON a.id = g.agency_id
JOIN users u ON u.id = g.user_id
LEFT JOIN appointments o ON o.id = g.appointment_id
LEFT JOIN agreements t ON t.id = g.agreement_id
LEFT JOIN approvals y ON y.id = g.approval_id
LEFT JOIN users d ON d.id = y.decided_by
LEFT JOIN restricted alarm ON alarm.id = g.event_id
LEFT JOIN (SELECT incident_id, max(restriction) AS restriction FROM restricted GROUP BY incident_id) incident
    ON incident.incident_id = g.incident_id
CROSS JOIN LATERAL (SELECT jsonb_build_object('agency', a.name, 'rank', coalesce(o.rank, ''), 'name',
    CASE g.on_behalf_of WHEN '' THEN u.name ELSE format('%s (%s)', g.on_behalf_of, u.name) END, 'contact', a.contact)
    AS party) p
WHERE g.owner_agency_id = :agency_id AND g.at >= :since AND g.at < :until
    AND (NOT g.owner_agency_id = ANY(a.acts_for_ids) OR g.basis LIKE '{OUT_OF_PURPOSE}%')
    AND NOT EXISTS (SELECT FROM provisions n WHERE n.id = g.id)
"""  # noqa: S608 - our own SQL
_OF_VERSIONS = f"""
SELECT {", ".join(f"p.{name}" for name in COLUMNS)}, CASE WHEN p.grant_id IS NULL THEN ARRAY[p.owner_agency_id] ELSE (
    SELECT a.acts_for_ids FROM grants g JOIN agencies a ON a.id = g.agency_id
    WHERE g.id = p.grant_id AND g.at = p.provided_at) END AS acted_for FROM provisions p
WHERE p.owner_agency_id = :agency_id AND p.provided_at >= :since AND p.provided_at < :until
    AND NOT EXISTS (SELECT FROM provisions n WHERE n.id = p.id AND n.version > p.version)
"""  # noqa: S608 - our own SQL

# Each row with `acted_for`, the institutions in whose name it was done.
# Binds :agency_id, :since, :until; then `SELECT … FROM current …`.
CURRENT = f"""
WITH restricted AS MATERIALIZED ({RESTRICTED}), current AS NOT MATERIALIZED ({_OF_VERSIONS} UNION ALL {_OF_GRANTS})
"""
