"""How far the audit log has been told as events."""

import sqlalchemy as sa
from alembic import op

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "tellings",
        sa.Column("topic", sa.Text(), nullable=False),
        sa.Column("position", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("topic", name=op.f("pk_tellings")),
    )
    op.execute("GRANT SELECT, UPDATE ON tellings TO gwanje_app")
    op.execute("INSERT INTO tellings SELECT 'footage', position FROM ledger_heads WHERE ledger = 'audit'")


def downgrade() -> None:
    op.drop_table("tellings")
