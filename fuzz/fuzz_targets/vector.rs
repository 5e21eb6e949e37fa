//! Bytes of strangers as a deletion vector: never a panic. The body is a function of `testkit`,
//! which `cargo test` runs too.
#![no_main]
libfuzzer_sys::fuzz_target!(|bytes: &[u8]| lakebed_testkit::fuzz::vector(bytes));
