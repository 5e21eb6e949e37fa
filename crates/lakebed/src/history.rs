//! The commits of a table, newest first; a time to a version.
