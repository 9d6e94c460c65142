"""What lasts of an incident, by the places that it was reported from."""

import sqlalchemy as sa
from alembic import op

revision = "0018"
down_revision = "0017"
branch_labels = None
depends_on = None

KEY = op.f("pk_conditions")


def upgrade() -> None:
    op.add_column("conditions", sa.Column("place", sa.Text(), server_default="", nullable=False))
    op.drop_constraint(KEY, "conditions")
    op.create_primary_key(KEY, "conditions", ["family", "subject", "place"])


def downgrade() -> None:
    op.drop_constraint(KEY, "conditions")
    op.execute(
        "DELETE FROM conditions c USING conditions newer"
        " WHERE newer.family = c.family AND newer.subject = c.subject"
        " AND (newer.event_at, newer.place) > (c.event_at, c.place)"
    )
    op.create_primary_key(KEY, "conditions", ["family", "subject"])
    op.drop_column("conditions", "place")
