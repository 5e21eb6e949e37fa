//! The local disk: list, read and durable commit of our own (temporary file, fsync, link, fsync of the folder).
