"""How grave what lasts has been since it began, and what ended it last."""

import sqlalchemy as sa
from alembic import op

revision = "0020"
down_revision = "0019"
branch_labels = None
depends_on = None

ENDED = "ix_conditions_ended_at"


def upgrade() -> None:
    op.add_column("events", sa.Column("gravity", sa.SmallInteger(), nullable=True))
    op.add_column("conditions", sa.Column("gravity", sa.SmallInteger(), server_default="0", nullable=False))
    op.add_column("conditions", sa.Column("ended_id", sa.Uuid(), nullable=True))
    op.add_column("conditions", sa.Column("ended_at", sa.DateTime(timezone=True), nullable=True))
    op.execute("UPDATE conditions SET ended_id = event_id, ended_at = event_at WHERE NOT lasts")
    op.execute(
        "UPDATE conditions c SET gravity = e.severity FROM events e WHERE c.lasts AND e.id = c.event_id"
        " AND e.at = c.event_at"
    )
    op.execute("GRANT DELETE ON conditions TO gwanje_app")  # those that are older than what a snapshot says
    op.create_index(ENDED, "conditions", ["ended_at"], postgresql_where=sa.text("ended_at IS NOT NULL"))


def downgrade() -> None:
    op.execute("REVOKE DELETE ON conditions FROM gwanje_app")
    op.drop_index(ENDED, "conditions")
    for column in ("ended_at", "ended_id", "gravity"):
        op.drop_column("conditions", column)
    op.drop_column("events", "gravity")
