//! CRC-32 (zlib polynomial), the one of deletion vectors and commit bodies.

/// The checksum of `bytes`.
pub fn crc32(bytes: &[u8]) -> u32 {
    crc32fast::hash(bytes)
}
