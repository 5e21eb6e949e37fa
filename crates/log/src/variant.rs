//! Variant values: the binary form, read, written and printed as JSON.
//!
//! A variant is two byte strings. `metadata` is a dictionary of the field names that occur, `value`
//! is a tree of numbers, texts, lists and objects whose field names are places in the dictionary:
//!
//! ```text
//!   metadata   header | count | offsets .. | "a" "id" "tags"
//!   value      header | ids 0 1  | offsets 0 2 4 |  7  | "x"        {"a": 7, "id": "x"}
//! ```
//!
//! Both come from data files, so every number in them is doubted: nothing is read outside the
//! bytes, and a value is walked only so deep. What a writer needs is here too, because files may
//! keep parts of a variant as columns of their own, and those must become one value again.

mod json;

use std::ops::Range;

use crate::error::{Code, Error, Result};

pub use json::to_json;

/// The dictionary of field names.
///
/// ```
/// use lakebed_log::variant::Names;
///
/// let names = Names::read(&[1, 2, 0, 1, 3, b'a', b'i', b'd'])?;
/// assert_eq!(names.name(1), Some("id"));
/// assert_eq!(names.find("a"), Some(0));
/// # Ok::<(), lakebed_log::error::Error>(())
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Names<'a> {
    offsets: Numbers<'a>,
    count: usize,
    sorted: bool,
    text: &'a [u8],
}

/// Little-endian numbers of one width, side by side.
#[derive(Clone, Copy, Debug)]
struct Numbers<'a> {
    bytes: &'a [u8],
    width: usize,
}

impl Numbers<'_> {
    fn get(&self, at: usize) -> Option<usize> {
        let from = at.checked_mul(self.width)?;
        number(self.bytes.get(from..from.checked_add(self.width)?)?)
    }
}

fn number(bytes: &[u8]) -> Option<usize> {
    let mut out = 0usize;
    for byte in bytes.iter().rev() {
        out = out.checked_mul(256)?.checked_add(usize::from(*byte))?;
    }
    Some(out)
}

impl<'a> Names<'a> {
    /// Reads a dictionary.
    ///
    /// # Errors
    ///
    /// `corrupt-data` for bytes that are none.
    pub fn read(metadata: &'a [u8]) -> Result<Names<'a>> {
        Names::parse(metadata).ok_or_else(|| corrupt("its dictionary does not parse"))
    }

    fn parse(metadata: &'a [u8]) -> Option<Names<'a>> {
        let (header, rest) = metadata.split_first()?;
        if header & 0x0f != 1 {
            return None;
        }
        let width = usize::from(header >> 6) + 1;
        let count = number(rest.get(..width)?)?;
        let end = count.checked_add(2)?.checked_mul(width)?;
        let offsets = Numbers { bytes: rest.get(width..end)?, width };
        let text = rest.get(end..)?;
        (offsets.get(count)? <= text.len()).then_some(())?;
        Some(Names { offsets, count, sorted: header & 0x10 != 0, text })
    }

    /// How many names.
    pub fn len(&self) -> usize {
        self.count
    }

    /// None at all?
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// The name at a place.
    pub fn name(&self, id: usize) -> Option<&'a str> {
        let range = self.offsets.get(id)?..self.offsets.get(id.checked_add(1)?)?;
        std::str::from_utf8(self.text.get(range)?).ok()
    }

    /// The place of a name.
    pub fn find(&self, name: &str) -> Option<usize> {
        if !self.sorted {
            return (0..self.count).find(|it| self.name(*it) == Some(name));
        }
        let (mut low, mut high) = (0, self.count);
        while low < high {
            let middle = low + (high - low) / 2;
            match self.name(middle)?.cmp(name) {
                std::cmp::Ordering::Equal => return Some(middle),
                std::cmp::Ordering::Less => low = middle + 1,
                std::cmp::Ordering::Greater => high = middle,
            }
        }
        None
    }
}

/// A value without parts.
#[derive(Clone, Copy, Debug, PartialEq)]
#[allow(missing_docs, reason = "the names say it")]
pub enum Scalar<'a> {
    Null,
    Boolean(bool),
    Int8(i8),
    Int16(i16),
    Int32(i32),
    Int64(i64),
    Double(f64),
    /// Up to 9, 18 or 38 digits, in 4, 8 or 16 bytes.
    Decimal4(i32, u8),
    Decimal8(i64, u8),
    Decimal16(i128, u8),
    /// Days since the epoch.
    Date(i32),
    /// Microseconds since the epoch, UTC.
    Timestamp(i64),
    /// Microseconds since the epoch, no zone.
    TimestampNtz(i64),
    Float(f32),
    Binary(&'a [u8]),
    String(&'a str),
    /// Microseconds since midnight.
    Time(i64),
    TimestampNanos(i64),
    TimestampNtzNanos(i64),
    Uuid([u8; 16]),
}

/// What a value is.
#[derive(Clone, Copy, Debug)]
pub enum Variant<'a> {
    /// A value without parts.
    Scalar(Scalar<'a>),
    /// Named values, by name.
    Object(Parts<'a>),
    /// A list.
    Array(Parts<'a>),
}

/// The parts of an object or array.
#[derive(Clone, Copy, Debug)]
pub struct Parts<'a> {
    len: usize,
    ids: Option<Numbers<'a>>,
    offsets: Numbers<'a>,
    values: &'a [u8],
}

impl<'a> Parts<'a> {
    /// How many.
    pub fn len(&self) -> usize {
        self.len
    }

    /// None at all?
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The place of the name of a field in the dictionary; `None` in an array.
    pub fn id(&self, at: usize) -> Option<usize> {
        self.ids.filter(|_| at < self.len)?.get(at)
    }

    /// The bytes of a part, to the end of the parts: a value knows where it ends.
    ///
    /// # Errors
    ///
    /// `corrupt-data` if it lies outside.
    pub fn value(&self, at: usize) -> Result<&'a [u8]> {
        let from = self.offsets.get(at).filter(|_| at < self.len);
        let bytes = from.and_then(|it| self.values.get(it..)).filter(|it| !it.is_empty());
        bytes.ok_or_else(|| corrupt("a part lies outside its value"))
    }
}

impl<'a> Variant<'a> {
    /// Reads the value at the start of the bytes.
    ///
    /// # Errors
    ///
    /// `corrupt-data` for bytes that are no value.
    ///
    /// ```
    /// use lakebed_log::variant::{Scalar, Variant};
    ///
    /// let Variant::Scalar(it) = Variant::read(&[0b101, b'x'])? else { unreachable!() };
    /// assert_eq!(it, Scalar::String("x"));
    /// # Ok::<(), lakebed_log::error::Error>(())
    /// ```
    pub fn read(value: &'a [u8]) -> Result<Variant<'a>> {
        Variant::parse(value).ok_or_else(|| corrupt("its value does not parse")).map(|it| it.0)
    }

    /// The bytes of the value at the start of the bytes, without what follows.
    ///
    /// # Errors
    ///
    /// `corrupt-data` for bytes that are no value.
    pub fn bytes(value: &'a [u8]) -> Result<&'a [u8]> {
        let len = Variant::parse(value).map(|it| it.1);
        let bytes = len.and_then(|it| value.get(..it));
        bytes.ok_or_else(|| corrupt("its value does not parse"))
    }

    /// Bytes that its parts take.
    fn parts_len(&self) -> usize {
        match self {
            Variant::Scalar(_) => 0,
            Variant::Object(parts) | Variant::Array(parts) => parts.values.len(),
        }
    }

    /// The value and how many bytes it takes.
    fn parse(bytes: &'a [u8]) -> Option<(Variant<'a>, usize)> {
        let (header, rest) = bytes.split_first()?;
        let kind = header >> 2;
        let (value, len) = match header & 3 {
            0 => scalar(kind, rest).map(|(it, len)| (Variant::Scalar(it), len))?,
            1 => {
                let len = usize::from(kind);
                let text = std::str::from_utf8(rest.get(..len)?).ok()?;
                (Variant::Scalar(Scalar::String(text)), len)
            }
            2 => {
                let widths = (usize::from(kind >> 2 & 3) + 1, usize::from(kind & 3) + 1);
                let (parts, len) = parts(rest, kind & 0x10 != 0, Some(widths.0), widths.1)?;
                (Variant::Object(parts), len)
            }
            _ => {
                let (parts, len) = parts(rest, kind & 4 != 0, None, usize::from(kind & 3) + 1)?;
                (Variant::Array(parts), len)
            }
        };
        Some((value, len.checked_add(1)?))
    }
}

fn parts(
    bytes: &[u8],
    is_large: bool,
    id_width: Option<usize>,
    width: usize,
) -> Option<(Parts<'_>, usize)> {
    let count_width = if is_large { 4 } else { 1 };
    let len = number(bytes.get(..count_width)?)?;
    let ids_end = match id_width {
        Some(it) => len.checked_mul(it)?.checked_add(count_width)?,
        None => count_width,
    };
    let ids = match id_width {
        Some(width) => Some(Numbers { bytes: bytes.get(count_width..ids_end)?, width }),
        None => None,
    };
    let offsets_end = len.checked_add(1)?.checked_mul(width)?.checked_add(ids_end)?;
    let offsets = Numbers { bytes: bytes.get(ids_end..offsets_end)?, width };
    let end = offsets.get(len)?.checked_add(offsets_end)?;
    let values = bytes.get(offsets_end..end)?;
    Some((Parts { len, ids, offsets, values }, end))
}

fn scalar(kind: u8, bytes: &[u8]) -> Option<(Scalar<'_>, usize)> {
    fn fixed<const N: usize>(bytes: &[u8]) -> Option<[u8; N]> {
        bytes.first_chunk::<N>().copied()
    }
    let sized = || {
        let len = number(bytes.get(..4)?)?.checked_add(4)?;
        Some((bytes.get(4..len)?, len))
    };
    let scale = || bytes.first().copied().filter(|it| *it <= 38);
    let after = bytes.get(1..).unwrap_or_default();
    Some(match kind {
        0 => (Scalar::Null, 0),
        1 => (Scalar::Boolean(true), 0),
        2 => (Scalar::Boolean(false), 0),
        3 => (Scalar::Int8(i8::from_le_bytes(fixed(bytes)?)), 1),
        4 => (Scalar::Int16(i16::from_le_bytes(fixed(bytes)?)), 2),
        5 => (Scalar::Int32(i32::from_le_bytes(fixed(bytes)?)), 4),
        6 => (Scalar::Int64(i64::from_le_bytes(fixed(bytes)?)), 8),
        7 => (Scalar::Double(f64::from_le_bytes(fixed(bytes)?)), 8),
        8 => (Scalar::Decimal4(i32::from_le_bytes(fixed(after)?), scale()?), 5),
        9 => (Scalar::Decimal8(i64::from_le_bytes(fixed(after)?), scale()?), 9),
        10 => (Scalar::Decimal16(i128::from_le_bytes(fixed(after)?), scale()?), 17),
        11 => (Scalar::Date(i32::from_le_bytes(fixed(bytes)?)), 4),
        12 => (Scalar::Timestamp(i64::from_le_bytes(fixed(bytes)?)), 8),
        13 => (Scalar::TimestampNtz(i64::from_le_bytes(fixed(bytes)?)), 8),
        14 => (Scalar::Float(f32::from_le_bytes(fixed(bytes)?)), 4),
        15 => sized().map(|(it, len)| (Scalar::Binary(it), len))?,
        16 => {
            let (text, len) = sized()?;
            (Scalar::String(std::str::from_utf8(text).ok()?), len)
        }
        17 => (Scalar::Time(i64::from_le_bytes(fixed(bytes)?)), 8),
        18 => (Scalar::TimestampNanos(i64::from_le_bytes(fixed(bytes)?)), 8),
        19 => (Scalar::TimestampNtzNanos(i64::from_le_bytes(fixed(bytes)?)), 8),
        20 => (Scalar::Uuid(fixed(bytes)?), 16),
        _ => return None,
    })
}

impl Scalar<'_> {
    /// Appends the value in binary form.
    ///
    /// # Errors
    ///
    /// `limit-exceeded` for a text or binary whose length does not fit 32 bits.
    pub fn write(&self, out: &mut Vec<u8>) -> Result<()> {
        const SHORT_MAX: usize = 63;
        let mut put = |kind: u8, bytes: &[u8]| {
            out.push(kind << 2);
            out.extend_from_slice(bytes);
        };
        match self {
            Scalar::Null => put(0, &[]),
            Scalar::Boolean(true) => put(1, &[]),
            Scalar::Boolean(false) => put(2, &[]),
            Scalar::Int8(it) => put(3, &it.to_le_bytes()),
            Scalar::Int16(it) => put(4, &it.to_le_bytes()),
            Scalar::Int32(it) => put(5, &it.to_le_bytes()),
            Scalar::Int64(it) => put(6, &it.to_le_bytes()),
            Scalar::Double(it) => put(7, &it.to_le_bytes()),
            Scalar::Decimal4(it, scale) => {
                put(8, &[*scale]);
                out.extend_from_slice(&it.to_le_bytes());
            }
            Scalar::Decimal8(it, scale) => {
                put(9, &[*scale]);
                out.extend_from_slice(&it.to_le_bytes());
            }
            Scalar::Decimal16(it, scale) => {
                put(10, &[*scale]);
                out.extend_from_slice(&it.to_le_bytes());
            }
            Scalar::Date(it) => put(11, &it.to_le_bytes()),
            Scalar::Timestamp(it) => put(12, &it.to_le_bytes()),
            Scalar::TimestampNtz(it) => put(13, &it.to_le_bytes()),
            Scalar::Float(it) => put(14, &it.to_le_bytes()),
            Scalar::Binary(it) => {
                put(15, &length(it.len())?.to_le_bytes());
                out.extend_from_slice(it);
            }
            Scalar::String(it) if it.len() <= SHORT_MAX => {
                let len = u8::try_from(it.len()).unwrap_or_default();
                out.push(len << 2 | 1);
                out.extend_from_slice(it.as_bytes());
            }
            Scalar::String(it) => {
                put(16, &length(it.len())?.to_le_bytes());
                out.extend_from_slice(it.as_bytes());
            }
            Scalar::Time(it) => put(17, &it.to_le_bytes()),
            Scalar::TimestampNanos(it) => put(18, &it.to_le_bytes()),
            Scalar::TimestampNtzNanos(it) => put(19, &it.to_le_bytes()),
            Scalar::Uuid(it) => put(20, it),
        }
        Ok(())
    }
}

fn length(len: usize) -> Result<u32> {
    u32::try_from(len).map_err(|_| {
        Error::new(Code::LimitExceeded, format!("a variant of {len} bytes is over {}", u32::MAX))
    })
}

/// Appends an array of values that stand in `values`.
///
/// # Errors
///
/// `limit-exceeded` for more than 32 bits of bytes or values.
pub fn write_array(values: &[u8], parts: &[Range<usize>], out: &mut Vec<u8>) -> Result<()> {
    let total: usize = parts.iter().map(ExactSizeIterator::len).sum();
    let width = width(total)?;
    let large = u8::from(usize::from(u8::MAX) < parts.len());
    out.push((large << 2 | (width - 1)) << 2 | 3);
    put_number(parts.len(), if large == 1 { 4 } else { 1 }, out)?;
    put_parts(values, parts.iter(), width, out)
}

/// Appends an object: for each field the place of its name in the dictionary, and where its value
/// stands in `values`. The fields must come in the order of their names.
///
/// # Errors
///
/// `limit-exceeded` for more than 32 bits of bytes or values.
pub fn write_object(
    values: &[u8],
    fields: &[(usize, Range<usize>)],
    out: &mut Vec<u8>,
) -> Result<()> {
    let total: usize = fields.iter().map(|it| it.1.len()).sum();
    let id_width = width(fields.iter().map(|it| it.0).max().unwrap_or(0))?;
    let width = width(total)?;
    let large = u8::from(usize::from(u8::MAX) < fields.len());
    out.push((large << 4 | (id_width - 1) << 2 | (width - 1)) << 2 | 2);
    put_number(fields.len(), if large == 1 { 4 } else { 1 }, out)?;
    fields.iter().try_for_each(|it| put_number(it.0, id_width, out))?;
    put_parts(values, fields.iter().map(|it| &it.1), width, out)
}

fn put_parts<'a>(
    values: &[u8],
    parts: impl Iterator<Item = &'a Range<usize>> + Clone,
    width: u8,
    out: &mut Vec<u8>,
) -> Result<()> {
    let mut end = 0;
    put_number(end, width, out)?;
    for part in parts.clone() {
        end += part.len();
        put_number(end, width, out)?;
    }
    for part in parts {
        let bytes = values.get(part.clone());
        out.extend_from_slice(bytes.ok_or_else(|| Error::internal("a part is not there"))?);
    }
    Ok(())
}

/// How many bytes the number takes.
fn width(most: usize) -> Result<u8> {
    Ok(match length(most)? {
        0..=0xff => 1,
        0x100..=0xffff => 2,
        0x1_0000..=0xff_ffff => 3,
        _ => 4,
    })
}

fn put_number(it: usize, width: u8, out: &mut Vec<u8>) -> Result<()> {
    let bytes = length(it)?.to_le_bytes();
    out.extend(bytes.iter().take(usize::from(width)));
    Ok(())
}

fn corrupt(what: &str) -> Error {
    Error::new(Code::CorruptData, format!("not a variant: {what}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const NAMES: &[u8] = &[0x11, 3, 0, 1, 3, 7, b'a', b'i', b'd', b't', b'a', b'g', b's'];

    #[track_caller]
    fn check(scalar: Scalar<'_>, json: &str) {
        let mut bytes = Vec::new();
        scalar.write(&mut bytes).unwrap();
        assert_eq!(Variant::bytes(&bytes).unwrap(), bytes);
        assert_eq!(to_json(NAMES, &bytes).unwrap(), json);
        bytes.push(0);
        let Variant::Scalar(read) = Variant::read(&bytes).unwrap() else { panic!("{scalar:?}") };
        if json != "\"NaN\"" {
            assert_eq!(read, scalar);
        }
        // No prefix is a value, and none makes trouble.
        for len in 0..bytes.len() - 1 {
            assert!(Variant::read(&bytes[..len]).is_err(), "{scalar:?} {len}");
        }
    }

    /// spec: VAR-1, VAR-9
    #[test]
    fn scalars_read_back_and_print() {
        check(Scalar::Null, "null");
        check(Scalar::Boolean(true), "true");
        check(Scalar::Boolean(false), "false");
        check(Scalar::Int8(-128), "-128");
        check(Scalar::Int16(i16::MIN), "-32768");
        check(Scalar::Int32(i32::MAX), "2147483647");
        check(Scalar::Int64(i64::MIN), "-9223372036854775808");
        check(Scalar::Double(0.1), "0.1");
        check(Scalar::Double(1e300), "1e300");
        check(Scalar::Double(f64::NAN), "\"NaN\"");
        check(Scalar::Float(f32::NEG_INFINITY), "\"-Infinity\"");
        check(Scalar::Float(0.2), "0.2");
        check(Scalar::Decimal4(-5, 3), "-0.005");
        check(Scalar::Decimal8(1_250, 2), "12.5");
        check(Scalar::Decimal16(10i128.pow(37), 0), "10000000000000000000000000000000000000");
        check(Scalar::Date(-1), "\"1969-12-31\"");
        check(Scalar::Timestamp(-1), "\"1969-12-31 23:59:59.999999+00:00\"");
        check(Scalar::TimestampNtz(1_500_000), "\"1970-01-01 00:00:01.5\"");
        check(Scalar::TimestampNtz(0), "\"1970-01-01 00:00:00\"");
        check(Scalar::TimestampNanos(-1), "\"1969-12-31 23:59:59.999999999+00:00\"");
        check(Scalar::TimestampNtzNanos(1), "\"1970-01-01 00:00:00.000000001\"");
        check(Scalar::Time(3_661_000_001), "\"01:01:01.000001\"");
        check(Scalar::Binary(b"eh?"), "\"ZWg/\"");
        check(Scalar::Binary(b"e"), "\"ZQ==\"");
        check(Scalar::Binary(b"eh"), "\"ZWg=\"");
        check(Scalar::String("\"x\u{e9}\n"), "\"\\\"x\u{e9}\\n\"");
        check(Scalar::String(""), "\"\"");
        let long = "x".repeat(64);
        check(Scalar::String(&long), &format!("\"{long}\""));
        check(Scalar::Uuid([1; 16]), "\"01010101-0101-0101-0101-010101010101\"");
    }

    /// spec: VAR-1
    #[test]
    fn objects_and_arrays_read_back() {
        for count in [0usize, 1, 3, 255, 256, 70_000] {
            let mut values = Vec::new();
            let mut parts = Vec::new();
            for at in 0..count {
                let from = values.len();
                Scalar::Int32(i32::try_from(at).unwrap()).write(&mut values).unwrap();
                parts.push(from..values.len());
            }
            let mut array = Vec::new();
            write_array(&values, &parts, &mut array).unwrap();
            assert_eq!(Variant::bytes(&array).unwrap().len(), array.len());
            let numbers: Vec<String> = (0..count).map(|it| it.to_string()).collect();
            assert_eq!(to_json(NAMES, &array).unwrap(), format!("[{}]", numbers.join(",")));
            let fields: Vec<_> = parts.into_iter().enumerate().take(3).collect();
            let mut object = Vec::new();
            write_object(&values, &fields, &mut object).unwrap();
            let Variant::Object(parts) = Variant::read(&object).unwrap() else { panic!() };
            assert_eq!(parts.len(), count.min(3));
            if count >= 3 {
                let json = r#"{"a":0,"id":1,"tags":2}"#;
                assert_eq!(to_json(NAMES, &object).unwrap(), json);
            }
        }
    }

    /// spec: VAR-2
    #[test]
    fn names_are_found() {
        for header in [0x01, 0x11] {
            let mut bytes = NAMES.to_vec();
            bytes[0] = header;
            let names = Names::read(&bytes).unwrap();
            for (at, name) in ["a", "id", "tags"].into_iter().enumerate() {
                assert_eq!((names.name(at), names.find(name)), (Some(name), Some(at)));
            }
            assert_eq!((names.name(3), names.find("b")), (None, None));
        }
        for len in 0..NAMES.len() {
            assert!(Names::read(&NAMES[..len]).is_err());
        }
        assert!(Names::read(&[2, 0, 0]).is_err());
    }

    /// spec: VAR-10
    #[test]
    fn hostile_bytes_end_in_an_error() {
        let mut deep = vec![0u8];
        for _ in 0..200 {
            let mut next = Vec::new();
            let all = 0..deep.len();
            write_array(&deep, std::slice::from_ref(&all), &mut next).unwrap();
            deep = next;
        }
        assert_eq!(to_json(NAMES, &deep).unwrap_err().code(), Code::LimitExceeded);
        // An object whose field has no name, a part outside, a count without parts.
        for bytes in [
            &[0b10u8, 1, 9, 0, 2, 0b1100, 7][..],
            &[0b10, 1, 0, 5, 2, 0b1100, 7],
            &[0b1_0011, 255, 255, 255, 255],
            &[0b11, 255],
            &[21 << 2],
            &[8 << 2, 39, 0, 0, 0, 0],
        ] {
            assert_eq!(to_json(NAMES, bytes).unwrap_err().code(), Code::CorruptData, "{bytes:?}");
        }
        // Twenty levels of lists whose parts are all the same bytes.
        let mut deep = vec![0b1100, 7];
        for _ in 0..20 {
            let mut next = vec![0b111, 9];
            next.extend([[0, 0]; 9].as_flattened());
            next.extend(u16::try_from(deep.len()).unwrap().to_le_bytes());
            next.append(&mut deep);
            deep = next;
        }
        let error = to_json(NAMES, &deep).unwrap_err();
        assert!(error.message().contains("upon each other"), "{error}");
        // A long name, and many objects that say it.
        let name = "n".repeat(60_000);
        let mut names = vec![0b0100_0001, 1, 0, 0, 0];
        names.extend(u16::try_from(name.len()).unwrap().to_le_bytes());
        names.extend(name.as_bytes());
        let object = [0b10, 1, 0, 0, 1, 0];
        let parts: Vec<_> = (0..3_000).map(|it| it * 6..it * 6 + 6).collect();
        let mut long = Vec::new();
        write_array(&object.repeat(3_000), &parts, &mut long).unwrap();
        assert_eq!(to_json(&names, &long).unwrap_err().code(), Code::LimitExceeded);
        let mut state = 1u64;
        for _ in 0..20_000 {
            let mut bytes = Vec::new();
            for _ in 0..24 {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                bytes.push((state >> 33) as u8);
            }
            let (metadata, value) = bytes.split_at(12);
            let _ = to_json(metadata, value);
            let _ = to_json(NAMES, value);
        }
    }
}
