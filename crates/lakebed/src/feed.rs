//! The change feed: row changes of a range of versions, and the difference of two.
