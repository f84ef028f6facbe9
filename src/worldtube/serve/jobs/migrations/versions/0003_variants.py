"""Which variants of a finished video there are: some have a physical state."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    op.add_column("videos", sa.Column("variants", sa.JSON(), nullable=True))
