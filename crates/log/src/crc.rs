//! CRC-32 in the one variant the log uses: the polynomial of zlib and gzip.
//!
//! It guards deletion vectors, where the protocol names it, and the body of our own commits, where
//! we chose it so that one function serves both.

/// The checksum of `bytes`.
///
/// ```
/// assert_eq!(lakebed_log::crc::crc32(b"123456789"), 0xcbf4_3926);
/// ```
pub fn crc32(bytes: &[u8]) -> u32 {
    crc32_after(0, bytes)
}

/// The checksum of what has the checksum `before`, and then `bytes`.
///
/// ```
/// use lakebed_log::crc::{crc32, crc32_after};
///
/// assert_eq!(crc32_after(crc32(b"1234"), b"56789"), crc32(b"123456789"));
/// ```
pub fn crc32_after(before: u32, bytes: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new_with_initial(before);
    hasher.update(bytes);
    hasher.finalize()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The check value that every catalogue of CRCs gives for this variant.
    #[test]
    fn is_the_zlib_variant() {
        assert_eq!(crc32(b"123456789"), 0xcbf4_3926);
        assert_eq!(crc32(b""), 0);
    }
}
