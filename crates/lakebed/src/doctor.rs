//! Checks a table against itself, and says what to do.
