//! Skipping, rule by rule, and that it never loses a row.
