//! A range of versions to what to read for its row changes.
