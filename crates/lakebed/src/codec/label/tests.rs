//! Names of files and of the table.
