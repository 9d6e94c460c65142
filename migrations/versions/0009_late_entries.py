"""Records of local spools that were imported, each once."""

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "late_records",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("spool_id", sa.Uuid(), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_late_records")),
    )
    op.execute("GRANT SELECT, INSERT ON late_records TO gwanje_app")


def downgrade() -> None:
    op.drop_table("late_records")
