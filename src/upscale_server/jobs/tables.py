"""The tables of the jobs' database, in words that SQLite and Postgres share.

Values are read and written by `store`; what the JSON columns hold is `codec`'s.
"""

from __future__ import annotations

from sqlalchemy import JSON, BigInteger, Column, Double, Index, Integer, MetaData, String, Table, Text, UniqueConstraint

SCHEMA_VERSION = 4
OLDEST_VERSION = 3
"""What is brought up to the present version at a start; nothing older was ever given to anybody."""

metadata = MetaData()

schema = Table(
    "upscale_schema",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=False),
    Column("version", Integer, nullable=False),
    # The number of the newest job: counted here and not in the jobs, or a removed one's would be given again.
    Column("last_number", Integer, nullable=False, default=0),
)
"""One row. Writers lock it first, so that there is one writer at a time on Postgres as there is on SQLite."""

jobs = Table(
    "upscale_jobs",
    metadata,
    Column("id", String(32), primary_key=True),
    Column("number", Integer, nullable=False, unique=True),
    Column("state", String(16), nullable=False),
    Column("version", Integer, nullable=False, default=1),
    Column("attempt", Integer, nullable=False, default=0),
    # Deaths of its server since the job last got further than ever before, and how far that is.
    Column("deaths", Integer, nullable=False, default=0),
    Column("reached", Integer, nullable=False, default=0),
    Column("created_at", Double, nullable=False),
    Column("queued_at", Double, nullable=False),
    Column("updated_at", Double, nullable=False),
    Column("started_at", Double),
    Column("finished_at", Double),
    Column("lease_until", Double),
    Column("owner", Text),
    # The one server that may do the job, because its source or its result lies on that one's disk; empty means any.
    Column("home", Text, nullable=False, default=""),
    Column("wanted", String(16), nullable=False, default=""),
    Column("key_id", String(64), nullable=False, default=""),
    Column("idempotency_key", String(255)),
    Column("asked_digest", String(64), nullable=False),
    Column("asked", JSON, nullable=False),
    Column("progress", JSON, nullable=False),
    Column("plan", JSON(none_as_null=True)),
    Column("outcome", JSON(none_as_null=True)),
    Column("fault", JSON(none_as_null=True)),
    Column("upload_id", Text),
    # Of the request that made the job, so that one name leads through every log.
    Column("request_id", String(64), nullable=False, server_default=""),
    UniqueConstraint("key_id", "idempotency_key"),
    Index("upscale_jobs_waiting", "state", "queued_at", "number"),
    Index("upscale_jobs_listed", "created_at", "id"),
)

deliveries = Table(
    "upscale_deliveries",
    metadata,
    Column("id", String(32), primary_key=True),
    Column("job_id", String(32), nullable=False, index=True),
    Column("url", Text, nullable=False),
    Column("body", Text, nullable=False),
    Column("created_at", Double, nullable=False),
    Column("attempts", Integer, nullable=False, default=0),
    # Null once it arrived or was given up.
    Column("next_try_at", Double, index=True),
    Column("delivered_at", Double),
    Column("last_error", Text),
)
"""What other servers are to be told; written with the end of a job, in one transaction."""

usage = Table(
    "upscale_usage",
    metadata,
    Column("key_id", String(64), primary_key=True),
    Column("day", String(10), primary_key=True),
    Column("bytes", BigInteger, nullable=False, default=0),
    Column("pixels", BigInteger, nullable=False, default=0),
)
"""What each key used on a day. Not a new version: who does not know the table writes nothing that it would miss."""
