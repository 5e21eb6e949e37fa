//! Rows by position among the live rows, in the order of the plan.
