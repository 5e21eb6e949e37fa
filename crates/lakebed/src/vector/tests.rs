//! Vectors in files, asked for in the order of a plan.
