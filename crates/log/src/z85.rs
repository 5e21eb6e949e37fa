//! Z85 (ZeroMQ RFC 32) in the exact variant of deletion vectors.
//!
//! Four bytes become five characters. The alphabet is fixed, and a group that stands for a number
//! over 32 bits is no encoding of anything: it is refused, not taken modulo 2^32.

use crate::error::{Code, Error, Result};

const ALPHABET: &[u8; 85] =
    b"0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ.-:+=^!/*?&<>()[]{}@%$#";

/// For each byte its digit; 255 for what is none.
const DIGITS: [u8; 256] = digits();

#[allow(clippy::indexing_slicing, clippy::cast_possible_truncation, reason = "at compile time")]
const fn digits() -> [u8; 256] {
    let mut digits = [255u8; 256];
    let mut at = 0;
    while at < ALPHABET.len() {
        digits[ALPHABET[at] as usize] = at as u8;
        at += 1;
    }
    digits
}

/// The bytes that a text stands for; its length is four fifths of the text's.
///
/// ```
/// use lakebed_log::z85::decode;
///
/// assert_eq!(decode("HelloWorld")?, [0x86, 0x4f, 0xd2, 0x6f, 0xb5, 0x59, 0xf7, 0x5b]);
/// assert!(decode("#####").is_err());
/// # Ok::<(), lakebed_log::error::Error>(())
/// ```
///
/// # Errors
///
/// `corrupt-dv` if the length is no multiple of five, a character is not of the alphabet, or a
/// group overflows 32 bits.
pub fn decode(text: &str) -> Result<Vec<u8>> {
    let corrupt = |what: String| Err(Error::new(Code::CorruptDv, what));
    let (groups, rest) = text.as_bytes().as_chunks::<5>();
    if !rest.is_empty() {
        return corrupt(format!("base85 text has {} bytes, no multiple of 5", text.len()));
    }
    let mut bytes = Vec::with_capacity(groups.len() * 4);
    for (at, group) in groups.iter().enumerate() {
        let mut number = 0u64;
        for character in group {
            let digit = DIGITS.get(usize::from(*character)).copied().unwrap_or(255);
            if digit == 255 {
                return corrupt(format!("base85 group {at} has a character that is no digit"));
            }
            number = number * 85 + u64::from(digit);
        }
        match u32::try_from(number) {
            Ok(number) => bytes.extend_from_slice(&number.to_be_bytes()),
            Err(_) => return corrupt(format!("base85 group {at} is {number}, over 32 bits")),
        }
    }
    Ok(bytes)
}

/// The text of `bytes`, filled up with zeros to a multiple of four.
///
/// ```
/// use lakebed_log::z85::encode;
///
/// assert_eq!(encode(&[0x86, 0x4f, 0xd2, 0x6f, 0xb5, 0x59, 0xf7, 0x5b]), "HelloWorld");
/// assert_eq!(encode(&[0]), "00000");
/// ```
pub fn encode(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len().div_ceil(4) * 5);
    for group in bytes.chunks(4) {
        let byte = |at: usize| u32::from(group.get(at).copied().unwrap_or(0));
        let number = byte(0) << 24 | byte(1) << 16 | byte(2) << 8 | byte(3);
        for place in [85u32.pow(4), 85u32.pow(3), 85u32.pow(2), 85, 1] {
            let digit = usize::try_from(number / place % 85).unwrap_or(0);
            text.extend(ALPHABET.get(digit).copied().map(char::from));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The bytes in hexadecimal, or the error.
    #[track_caller]
    fn check(text: &str, expected: &str) {
        let actual = match decode(text) {
            Ok(bytes) => bytes.iter().map(|it| format!("{it:02x}")).collect(),
            Err(error) => format!("{}: {error}", error.code().as_str()),
        };
        assert_eq!(actual, expected, "{text:?}");
    }

    /// spec: DV-4, DV-5
    #[test]
    fn texts() {
        check("", "");
        check("HelloWorld", "864fd26fb559f75b");
        check("00000", "00000000");
        check("%nSc0", "ffffffff");
        check("^-aqEH.-t@S}K{vb[*k^", "d2c639aa8816431aaaf6d3fe2512ff61");
        check("%nSc1", "corrupt-dv: base85 group 0 is 4294967296, over 32 bits");
        check("00000#####", "corrupt-dv: base85 group 1 is 4437053124, over 32 bits");
        check("0000", "corrupt-dv: base85 text has 4 bytes, no multiple of 5");
        for bad in ["0000~", "0000 ", "0000\"", "0000\\", "000\u{e9}", "0000\0"] {
            check(bad, "corrupt-dv: base85 group 0 has a character that is no digit");
        }
    }

    proptest! {
        /// spec: DV-4, DV-5
        #[test]
        fn decode_is_the_inverse(bytes in proptest::collection::vec(any::<u8>(), 0..40)) {
            let mut filled = bytes.clone();
            filled.resize(bytes.len().div_ceil(4) * 4, 0);
            prop_assert_eq!(decode(&encode(&bytes)).unwrap(), filled);
        }

        /// spec: DV-5
        #[test]
        fn what_decodes_is_the_encoding(text in "[0-9a-zA-Z.:+=^!/*?&<>()\\[\\]{}@%$#-]{5,20}") {
            if let Ok(bytes) = decode(&text) {
                prop_assert_eq!(encode(&bytes), text);
            }
        }
    }
}
