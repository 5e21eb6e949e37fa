//! A serializable unit of a scan: pinned to a version, without secrets.
