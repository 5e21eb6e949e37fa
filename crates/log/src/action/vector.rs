//! From the descriptor of a deletion vector to its rows.

use crate::action::{DeletionVector, invalid, short};
use crate::error::{Code, Error, Result};
use crate::row_set::RowSet;
use crate::{uri, z85};

/// Characters of a UUID in base85.
const UUID_CHARACTERS: usize = 20;

/// The bytes of a vector, or where they are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum VectorBytes {
    /// In the log: the payload.
    Inline(Vec<u8>),
    /// In a file.
    File {
        /// As the `path` of an action: encoded, below the table's root or absolute.
        path: String,
        /// Where the framed vector begins, in bytes.
        offset: u64,
        /// Bytes of the payload, which is framed by [`FRAME_BYTES`](crate::row_set::FRAME_BYTES).
        size: u64,
    },
}

impl DeletionVector {
    /// Where its bytes are.
    ///
    /// ```
    /// use lakebed_log::action::{DeletionVector, VectorBytes};
    ///
    /// let vector = DeletionVector {
    ///     storage_type: "u".to_string(),
    ///     path_or_inline_dv: "ab^-aqEH.-t@S}K{vb[*k^".to_string(),
    ///     offset: Some(4),
    ///     size_in_bytes: 40,
    ///     cardinality: 6,
    /// };
    /// let path = "ab/deletion_vector_d2c639aa-8816-431a-aaf6-d3fe2512ff61.bin".to_string();
    /// assert_eq!(vector.bytes()?, VectorBytes::File { path, offset: 4, size: 40 });
    /// # Ok::<(), lakebed_log::error::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// `corrupt-dv` for base85 that is none or of another length, and for a storage type that is
    /// not known; `invalid-action` for numbers below zero; `path-escape`, `invalid-path` for a
    /// prefix that is no folder of the table.
    pub fn bytes(&self) -> Result<VectorBytes> {
        let size = u64::try_from(self.size_in_bytes)
            .map_err(|_| invalid(format!("size of a deletion vector: {}", self.size_in_bytes)))?;
        let offset = u64::try_from(self.offset.unwrap_or(0))
            .map_err(|_| invalid(format!("offset of a deletion vector: {:?}", self.offset)))?;
        let path = match self.storage_type.as_str() {
            "i" => return self.inline(size).map(VectorBytes::Inline),
            "u" => self.path_by_id()?,
            "p" => self.path_or_inline_dv.clone(),
            other => {
                let what = format!("storage type `{}` is not `u`, `i` or `p`", short(other));
                return Err(corrupt(what));
            }
        };
        Ok(VectorBytes::File { path, offset, size })
    }

    /// Its rows, from its payload.
    ///
    /// # Errors
    ///
    /// `corrupt-dv`, as [`RowSet::from_bytes`]; `invalid-action` for a cardinality below zero.
    pub fn rows(&self, payload: &[u8]) -> Result<RowSet> {
        let cardinality = u64::try_from(self.cardinality)
            .map_err(|_| invalid(format!("cardinality of a vector: {}", self.cardinality)))?;
        RowSet::from_bytes(payload, cardinality)
    }

    /// The encoder fills up to a multiple of four bytes, and no further.
    fn inline(&self, size: u64) -> Result<Vec<u8>> {
        if self.offset.is_some() {
            return Err(corrupt("an inline deletion vector has no offset".to_string()));
        }
        let mut bytes = z85::decode(&self.path_or_inline_dv)?;
        let size = usize::try_from(size).unwrap_or(usize::MAX);
        if size.checked_next_multiple_of(4) != Some(bytes.len()) {
            let what = format!("the log says {size} bytes of an inline vector of {}", bytes.len());
            return Err(corrupt(what));
        }
        bytes.truncate(size);
        Ok(bytes)
    }

    /// A folder, or nothing, and a UUID.
    fn path_by_id(&self) -> Result<String> {
        let text = &self.path_or_inline_dv;
        let split = text.len().checked_sub(UUID_CHARACTERS);
        let Some((folder, id)) = split.and_then(|it| text.split_at_checked(it)) else {
            let what = format!("`{}` does not end in a UUID in base85", short(text));
            return Err(corrupt(what));
        };
        let id = z85::decode(id)?;
        let hex: String = id.iter().map(|it| format!("{it:02x}")).collect();
        let mut name = String::from("deletion_vector_");
        for (at, digit) in hex.chars().enumerate() {
            if matches!(at, 8 | 12 | 16 | 20) {
                name.push('-');
            }
            name.push(digit);
        }
        name.push_str(".bin");
        let key = if folder.is_empty() { name } else { format!("{folder}/{name}") };
        let path = uri::encode(&key);
        uri::decode(&path)?;
        Ok(path)
    }
}

fn corrupt(what: String) -> Error {
    Error::new(Code::CorruptDv, what)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn vector(of: &str, text: &str, offset: Option<i32>, size: i32) -> DeletionVector {
        DeletionVector {
            storage_type: of.to_string(),
            path_or_inline_dv: text.to_string(),
            offset,
            size_in_bytes: size,
            cardinality: 0,
        }
    }

    /// Path, offset and size, the bytes in hexadecimal, or the error's code.
    #[track_caller]
    fn check(of: &str, text: &str, offset: Option<i32>, size: i32, expected: &str) {
        let actual = match vector(of, text, offset, size).bytes() {
            Ok(VectorBytes::File { path, offset, size }) => format!("{path} {offset} {size}"),
            Ok(VectorBytes::Inline(bytes)) => bytes.iter().map(|it| format!("{it:02x}")).collect(),
            Err(error) => error.code().as_str().to_string(),
        };
        assert_eq!(actual, expected, "{of} {text:?} {offset:?} {size}");
    }

    /// spec: DV-1, DV-2, DV-3
    #[test]
    fn where_the_bytes_are() {
        let id = "^-aqEH.-t@S}K{vb[*k^";
        let name = "deletion_vector_d2c639aa-8816-431a-aaf6-d3fe2512ff61.bin";
        check("u", id, Some(1), 40, &format!("{name} 1 40"));
        check("u", id, None, 40, &format!("{name} 0 40"));
        check("u", &format!("ab{id}"), Some(4), 40, &format!("ab/{name} 4 40"));
        check("u", &format!("a b{id}"), Some(4), 40, &format!("a%20b/{name} 4 40"));
        check("p", "file:///t/d%20v.bin", Some(4), 40, "file:///t/d%20v.bin 4 40");
        check("i", "HelloWorld", None, 8, "864fd26fb559f75b");
        check("i", "HelloWorld", None, 5, "864fd26fb5");
    }

    /// spec: DV-1, DV-2, DV-3, DV-4
    #[test]
    fn descriptors_that_make_no_sense() {
        let id = "^-aqEH.-t@S}K{vb[*k^";
        check("u", "", None, 40, "corrupt-dv");
        check("u", &id[1..], None, 40, "corrupt-dv");
        check("u", &id.replace('k', "~"), None, 40, "corrupt-dv");
        check("u", &"\u{e9}".repeat(10), None, 40, "corrupt-dv");
        check("u", &"\u{20ac}".repeat(7), None, 40, "corrupt-dv");
        check("u", &format!("..{id}"), None, 40, "path-escape");
        check("u", &format!("../other{id}"), None, 40, "path-escape");
        check("u", &format!("/other{id}"), None, 40, "path-escape");
        check("u", &format!("_delta_log{id}"), None, 40, "path-escape");
        check("u", &format!("a/{id}"), None, 40, "invalid-path");
        check("u", id, Some(-1), 40, "invalid-action");
        check("u", id, Some(1), -1, "invalid-action");
        check("x", id, Some(1), 40, "corrupt-dv");
        check("i", "HelloWorld", Some(1), 8, "corrupt-dv");
        for size in [0, 1, 4, 9, 12, i32::MAX] {
            check("i", "HelloWorld", None, size, "corrupt-dv");
        }
        check("i", "HelloWorl", None, 8, "corrupt-dv");
        check("i", "Hell\u{e9}Worl", None, 8, "corrupt-dv");
    }
}
