//! The same methods for callers without a runtime.
