"""A schema of the day after tomorrow, so that a migration of a file with rows is under test."""

NEXT_MIGRATION = (
    "ALTER TABLE builds ADD COLUMN tested INTEGER",
    "UPDATE builds SET tested = seq",
    "CREATE INDEX builds_tested ON builds (tested)",
)
