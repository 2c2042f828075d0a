"""A build becomes a Job: placeholders, the manifest as a tree, its schema, template and trial."""
