<<<<<<< HEAD
//! Bytes of strangers as a deletion vector: never a panic. The body is a function of `testkit`,
//! which `cargo test` runs too.
=======
//! Bytes of strangers as a path: never a panic. The body is a function of `testkit`, which `cargo
//! test` runs too.
>>>>>>> 0638e0d (Vectors, positions, row ids and roots are proved)
#![no_main]
libfuzzer_sys::fuzz_target!(|bytes: &[u8]| lakebed_testkit::fuzz::vector(bytes));
