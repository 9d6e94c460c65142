"""Whether an incident is restricted is found at once, when somebody asks to watch for it."""

import sqlalchemy as sa
from alembic import op

revision = "0014"
down_revision = "0013"
branch_labels = None
depends_on = None

_RESTRICTED = sa.text("incident_id IS NOT NULL AND restriction <> ''")


def upgrade() -> None:
    op.create_index("ix_events_restricted_incident", "events", ["incident_id"], postgresql_where=_RESTRICTED)


def downgrade() -> None:
    op.drop_index("ix_events_restricted_incident", table_name="events", postgresql_where=_RESTRICTED)
