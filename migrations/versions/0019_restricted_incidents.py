"""Which incidents are restricted, however long ago that was told."""

import sqlalchemy as sa
from alembic import op

revision = "0019"
down_revision = "0018"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "restricted_incidents",
        sa.Column("incident_id", sa.Uuid(), nullable=False),
        sa.Column("restriction", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("incident_id", name=op.f("pk_restricted_incidents")),
    )
    op.execute("GRANT SELECT, INSERT ON restricted_incidents TO gwanje_app")
    op.execute(
        "INSERT INTO restricted_incidents SELECT incident_id, max(restriction) FROM events"
        " WHERE incident_id IS NOT NULL AND restriction <> '' AND NOT exercise GROUP BY incident_id"
    )


def downgrade() -> None:
    op.drop_table("restricted_incidents")
