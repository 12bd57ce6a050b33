"""A results root: paths, files, schema, parts, reading, leases, repair and compaction."""
