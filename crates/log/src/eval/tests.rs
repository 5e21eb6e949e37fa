//! Expressions over rows, and against a row by row model.
