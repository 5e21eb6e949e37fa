//! Statistics as the JSON of `add.stats`.
//!
//! A table of a million files has a million of these texts, and a filter names a column or two of
//! thirty. So reading walks the text once, keeps a slice for each wanted leaf and steps over the
//! rest; only the kept slices become values, and from their own digits: a decimal never passes
//! through a float.

use std::borrow::Cow;
use std::fmt;

use arrow_array::StructArray;
use serde::de::{
    DeserializeSeed, Deserializer, Error as _, IgnoredAny, MapAccess, SeqAccess, Visitor,
};
use serde_json::value::RawValue;

use super::columns::{self, Leaf};
use super::structs::Structs;
use super::{ColumnStats, Stats};
use crate::limits::STATS_BYTES_MAX;
use crate::schema::{ColumnMapping, PrimitiveType, Schema};
use crate::value::Value;

/// Reads the statistics of many files of one table: which leaves are wanted is worked out once.
///
/// ```no_run
/// # use lakebed_log::{schema::Schema, stats::Reader};
/// # fn f(schema: &Schema, texts: &[&str]) {
/// let wanted = [vec!["day".to_string()]];
/// let reader = Reader::new(schema, Some(&wanted));
/// let rows: u64 = texts.iter().filter_map(|it| reader.read(it).num_records).sum();
/// # }
/// ```
#[derive(Debug)]
pub struct Reader {
    leaves: Vec<Leaf>,
    tree: Tree,
}

impl Reader {
    /// For the leaves that `wanted` names; `None`: all leaves of the schema.
    pub fn new(schema: &Schema, wanted: Option<&[Vec<String>]>) -> Reader {
        Reader::mapped(schema, ColumnMapping::None, wanted)
    }

    /// The same where columns are mapped: the texts have physical names, and what is wanted and
    /// what is read have the names of the schema.
    pub fn mapped(
        schema: &Schema,
        mapping: ColumnMapping,
        wanted: Option<&[Vec<String>]>,
    ) -> Reader {
        Reader::of(columns::wanted(schema, mapping, wanted))
    }

    /// The same statistics from one row of a checkpoint's `stats_parsed`. Its types may be those of
    /// an older schema; a value that is not of the column's type now is unknown.
    pub fn read_struct(&self, parsed: &StructArray, row: usize) -> Stats {
        let mut stats = self.blank();
        Structs::new(parsed, self).read(self, row, &mut stats);
        stats.columns.retain(|_, it| *it != ColumnStats::default());
        stats
    }

    pub(crate) fn of(leaves: Vec<Leaf>) -> Reader {
        let mut tree = Tree::default();
        for (index, leaf) in leaves.iter().enumerate() {
            tree.insert(&leaf.names, index);
        }
        Reader { leaves, tree }
    }

    pub(crate) fn leaves(&self) -> &[Leaf] {
        &self.leaves
    }

    /// Statistics that do not parse, or that say something twice, are unknown as a whole; a value
    /// that makes no sense for its column is unknown alone.
    pub fn read(&self, text: &str) -> Stats {
        let mut stats = self.blank();
        self.fill(text, &mut stats);
        stats.columns.retain(|_, it| *it != ColumnStats::default());
        stats
    }

    /// Statistics that know nothing, with a place for each wanted leaf.
    pub(crate) fn blank(&self) -> Stats {
        let columns = self.leaves.iter().map(|it| (it.path.clone(), ColumnStats::default()));
        Stats { num_records: None, columns: columns.collect(), tight_bounds: true }
    }

    /// As [`Reader::read`], into statistics made by [`Reader::blank`].
    pub(crate) fn fill(&self, text: &str, stats: &mut Stats) {
        let raw = self.read_raw(text).unwrap_or_default();
        stats.num_records = raw.num_records();
        stats.tight_bounds = raw.tight_bounds().unwrap_or(true);
        let nothing = RawLeaf::default();
        for (at, leaf) in self.leaves.iter().enumerate() {
            let it = raw.leaves.get(at).unwrap_or(&nothing);
            let Some(column) = stats.columns.get_mut(&leaf.path) else { continue };
            let value = |text: Option<&str>, side| {
                text.zip(leaf.of).and_then(|(text, of)| parse_value(text, of, side))
            };
            *column = ColumnStats {
                min: value(it.min, Side::Min),
                max: value(it.max, Side::Max),
                null_count: it.null_count(),
            };
        }
        stats.make_sound();
    }

    /// The slices of the wanted leaves, in their order; `None` if the text as a whole makes no
    /// sense.
    pub(crate) fn read_raw<'t>(&self, text: &'t str) -> Option<RawStats<'t>> {
        if text.len() > STATS_BYTES_MAX {
            return None;
        }
        let mut raw =
            RawStats { leaves: vec![RawLeaf::default(); self.leaves.len()], ..RawStats::default() };
        let mut json = serde_json::Deserializer::from_str(text);
        let top = Top { tree: &self.tree, raw: &mut raw };
        json.deserialize_map(top).ok()?;
        json.end().ok()?;
        Some(raw)
    }
}

/// Statistics of one file as slices of their text.
#[derive(Debug, Default)]
pub(crate) struct RawStats<'t> {
    pub(super) rows_text: Option<&'t str>,
    pub(super) tight_text: Option<&'t str>,
    pub(crate) leaves: Vec<RawLeaf<'t>>,
    /// Does a scalar stand where values by column are expected?
    pub(super) is_odd: bool,
    /// Top-level keys met, one bit each.
    seen: u8,
}

impl RawStats<'_> {
    pub(crate) fn num_records(&self) -> Option<u64> {
        self.rows_text?.parse().ok()
    }

    pub(crate) fn tight_bounds(&self) -> Option<bool> {
        self.tight_text?.parse().ok()
    }
}

/// The JSON values of one leaf, as text; `null` is a value of no type.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct RawLeaf<'t> {
    pub(crate) min: Option<&'t str>,
    pub(crate) max: Option<&'t str>,
    pub(super) nulls: Option<&'t str>,
    /// Sections in which it was met, one bit each.
    seen: u8,
}

impl RawLeaf<'_> {
    pub(crate) fn null_count(&self) -> Option<u64> {
        self.nulls.and_then(|it| it.parse().ok())
    }
}

/// Names to leaves.
#[derive(Debug, Default)]
struct Tree {
    /// As the schema has them.
    children: Vec<(String, Child)>,
    /// Places of the children, by name.
    by_name: Vec<usize>,
}

/// Where the next name is looked for first. Writers put columns into the order of the schema, or
/// that of their names, and leave some out; most names are found without a search.
#[derive(Default)]
struct Next {
    in_schema: usize,
    by_name: usize,
}

#[derive(Debug)]
enum Child {
    Leaf(usize),
    Struct(Tree),
}

impl Tree {
    /// The first of two leaves of one path is kept; a leaf within a leaf is not a schema's.
    fn insert(&mut self, names: &[String], index: usize) {
        let Some((name, rest)) = names.split_first() else { return };
        let child = match self.search(name) {
            Ok(rank) => self.by_name.get(rank).and_then(|it| self.children.get_mut(*it)),
            Err(rank) => {
                let child = match rest.is_empty() {
                    true => Child::Leaf(index),
                    false => Child::Struct(Tree::default()),
                };
                self.by_name.insert(rank, self.children.len());
                self.children.push((name.clone(), child));
                self.children.last_mut()
            }
        };
        if let Some((_, Child::Struct(tree))) = child {
            tree.insert(rest, index);
        }
    }

    fn get(&self, name: &str, next: &mut Next) -> Option<&Child> {
        if let Some(at) = self.by_name.get(next.by_name)
            && let Some((_, child)) = self.children.get(*at).filter(|it| it.0 == name)
        {
            *next = Next { in_schema: at + 1, by_name: next.by_name + 1 };
            return Some(child);
        }
        if let Some((_, child)) = self.children.get(next.in_schema).filter(|it| it.0 == name) {
            next.in_schema += 1;
            return Some(child);
        }
        let rank = self.search(name).ok()?;
        let at = *self.by_name.get(rank)?;
        *next = Next { in_schema: at + 1, by_name: rank + 1 };
        self.children.get(at).map(|it| &it.1)
    }

    /// The rank of a name, or the one that it would have.
    fn search(&self, name: &str) -> Result<usize, usize> {
        let name_at = |at: &usize| self.children.get(*at).map_or("", |it| it.0.as_str());
        self.by_name.binary_search_by(|at| name_at(at).cmp(name))
    }
}

#[derive(Clone, Copy, Debug)]
enum Section {
    Min = 1,
    Max = 2,
    Nulls = 4,
}

const SEEN_TWICE: &str = "a key stands twice";

/// The whole document.
struct Top<'a, 't> {
    tree: &'a Tree,
    raw: &'a mut RawStats<'t>,
}

impl<'t> Visitor<'t> for Top<'_, 't> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("statistics")
    }

    fn visit_map<A: MapAccess<'t>>(self, mut map: A) -> Result<(), A::Error> {
        let Top { tree, raw } = self;
        while let Some(Key(key)) = map.next_key_seed(Key::default())? {
            let (bit, section) = match key.as_ref() {
                "numRecords" => (1, None),
                "tightBounds" => (2, None),
                "minValues" => (4, Some(Section::Min)),
                "maxValues" => (8, Some(Section::Max)),
                "nullCount" => (16, Some(Section::Nulls)),
                _ => {
                    map.next_value::<IgnoredAny>()?;
                    continue;
                }
            };
            if raw.seen & bit != 0 {
                return Err(A::Error::custom(SEEN_TWICE));
            }
            raw.seen |= bit;
            match section {
                Some(section) => {
                    let (leaves, is_odd) = (&mut raw.leaves, &mut raw.is_odd);
                    map.next_value_seed(Level { tree, section, leaves, is_odd })?
                }
                None => {
                    let text = map.next_value::<&RawValue>()?.get();
                    match bit {
                        1 => raw.rows_text = Some(text),
                        _ => raw.tight_text = Some(text),
                    }
                }
            }
        }
        Ok(())
    }
}

/// One object of a section: fields of one struct. Anything but an object says nothing.
struct Level<'a, 't> {
    tree: &'a Tree,
    section: Section,
    leaves: &'a mut [RawLeaf<'t>],
    is_odd: &'a mut bool,
}

impl Level<'_, '_> {
    /// A scalar says nothing here.
    fn odd<E>(self) -> Result<(), E> {
        *self.is_odd = true;
        Ok(())
    }
}

impl<'t> DeserializeSeed<'t> for Level<'_, 't> {
    type Value = ();

    fn deserialize<D: Deserializer<'t>>(self, json: D) -> Result<(), D::Error> {
        json.deserialize_any(self)
    }
}

impl<'t> Visitor<'t> for Level<'_, 't> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("values by column")
    }

    fn visit_map<A: MapAccess<'t>>(self, mut map: A) -> Result<(), A::Error> {
        let Level { tree, section, leaves, is_odd } = self;
        let mut next = Next::default();
        while let Some(child) = map.next_key_seed(Find { tree, next: &mut next })? {
            match child {
                None => drop(map.next_value::<IgnoredAny>()?),
                Some(Child::Struct(tree)) => {
                    let (leaves, is_odd) = (&mut *leaves, &mut *is_odd);
                    map.next_value_seed(Level { tree, section, leaves, is_odd })?;
                }
                Some(Child::Leaf(index)) => {
                    let text = map.next_value::<&RawValue>()?.get();
                    let Some(leaf) = leaves.get_mut(*index) else { continue };
                    let bit = section as u8;
                    if leaf.seen & bit != 0 {
                        return Err(A::Error::custom(SEEN_TWICE));
                    }
                    leaf.seen |= bit;
                    let slot = match section {
                        Section::Min => &mut leaf.min,
                        Section::Max => &mut leaf.max,
                        Section::Nulls => &mut leaf.nulls,
                    };
                    *slot = Some(text);
                }
            }
        }
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'t>>(self, mut seq: A) -> Result<(), A::Error> {
        while seq.next_element::<IgnoredAny>()?.is_some() {}
        Ok(())
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        self.odd()
    }

    fn visit_bool<E>(self, _: bool) -> Result<(), E> {
        self.odd()
    }

    fn visit_i64<E>(self, _: i64) -> Result<(), E> {
        self.odd()
    }

    fn visit_u64<E>(self, _: u64) -> Result<(), E> {
        self.odd()
    }

    fn visit_f64<E>(self, _: f64) -> Result<(), E> {
        self.odd()
    }

    fn visit_str<E>(self, _: &str) -> Result<(), E> {
        self.odd()
    }
}

/// A key, copied only if it holds escapes.
#[derive(Default)]
pub(super) struct Key<'t>(pub(super) Cow<'t, str>);

impl<'t> DeserializeSeed<'t> for Key<'_> {
    type Value = Key<'t>;

    fn deserialize<D: Deserializer<'t>>(self, json: D) -> Result<Key<'t>, D::Error> {
        struct Text;
        impl<'t> Visitor<'t> for Text {
            type Value = Key<'t>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a key")
            }
            fn visit_borrowed_str<E>(self, text: &'t str) -> Result<Key<'t>, E> {
                Ok(Key(Cow::Borrowed(text)))
            }
            fn visit_str<E>(self, text: &str) -> Result<Key<'t>, E> {
                Ok(Key(Cow::Owned(text.to_string())))
            }
        }
        json.deserialize_str(Text)
    }
}

/// A key, looked up as it is read.
struct Find<'a, 'n> {
    tree: &'a Tree,
    next: &'n mut Next,
}

impl<'a, 't> DeserializeSeed<'t> for Find<'a, '_> {
    type Value = Option<&'a Child>;

    fn deserialize<D: Deserializer<'t>>(self, json: D) -> Result<Self::Value, D::Error> {
        json.deserialize_str(self)
    }
}

impl<'a> Visitor<'_> for Find<'a, '_> {
    type Value = Option<&'a Child>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a column name")
    }

    fn visit_str<E>(self, name: &str) -> Result<Self::Value, E> {
        Ok(self.tree.get(name, self.next))
    }
}

/// Which bound a value is: where it does not fit exactly it moves outwards.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Side {
    Min,
    Max,
}

/// One minimum or maximum from its JSON text; `None` where it makes no sense for the type.
pub(crate) fn parse_value(text: &str, of: PrimitiveType, side: Side) -> Option<Value> {
    let whole = || text.parse().ok().or_else(|| i64::try_from(parse_decimal(text, 0, side)?).ok());
    Some(match of {
        PrimitiveType::Boolean => Value::Boolean(text.parse().ok()?),
        PrimitiveType::Byte => Value::Byte(whole()?.try_into().ok()?),
        PrimitiveType::Short => Value::Short(whole()?.try_into().ok()?),
        PrimitiveType::Integer => Value::Integer(whole()?.try_into().ok()?),
        PrimitiveType::Long => Value::Long(whole()?),
        PrimitiveType::Float => Value::Float(parse_float(text)?),
        PrimitiveType::Double => Value::Double(parse_float(text)?),
        PrimitiveType::Decimal { precision, scale } => {
            let text = text.strip_prefix('"').and_then(|it| it.strip_suffix('"')).unwrap_or(text);
            let unscaled = parse_decimal(text, scale, side)?;
            let fits = unscaled.unsigned_abs() < 10u128.checked_pow(precision.into())?;
            fits.then_some(Value::Decimal { unscaled, precision, scale })?
        }
        PrimitiveType::String => Value::String(unquote(text)?.into_owned()),
        PrimitiveType::Date | PrimitiveType::Timestamp | PrimitiveType::TimestampNtz => {
            Value::from_stats_text(&unquote(text)?, of)?
        }
        PrimitiveType::Binary
        | PrimitiveType::Void
        | PrimitiveType::Variant
        | PrimitiveType::Interval(_) => return None,
    })
}

fn unquote(text: &str) -> Option<Cow<'_, str>> {
    let inner = text.strip_prefix('"')?.strip_suffix('"')?;
    if inner.contains('\\') {
        return serde_json::from_str(text).ok().map(Cow::Owned);
    }
    Some(Cow::Borrowed(inner))
}

/// A JSON number, or one of the three names that JSON has no number for.
fn parse_float<F: std::str::FromStr>(text: &str) -> Option<F> {
    let number = match text {
        "\"NaN\"" => "NaN",
        "\"Infinity\"" => "inf",
        "\"-Infinity\"" => "-inf",
        _ if text.starts_with(|it: char| it == '-' || it.is_ascii_digit()) => text,
        _ => return None,
    };
    number.parse().ok()
}

/// The unscaled value of a JSON number, from its digits; digits past the scale move it outwards.
fn parse_decimal(text: &str, scale: u8, side: Side) -> Option<i128> {
    /// Past this the value is zero or out of range, whatever its digits.
    const EXPONENT_MAX: i32 = 1_000;
    let (text, exponent) = match text.split_once(['e', 'E']) {
        Some((text, exponent)) => (text, exponent.parse::<i32>().ok()?),
        None => (text, 0),
    };
    let (negative, text) = match text.strip_prefix('-') {
        Some(text) => (true, text),
        None => (false, text),
    };
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    if whole.is_empty() || exponent.abs() > EXPONENT_MAX {
        return None;
    }
    let mut digits: i128 = 0;
    for it in whole.bytes().chain(fraction.bytes()) {
        let digit = char::from(it).to_digit(10)?;
        digits = digits.checked_mul(10)?.checked_add(digit.into())?;
    }
    let digits = if negative { -digits } else { digits };
    let shift = exponent.checked_add(i32::from(scale))? - i32::try_from(fraction.len()).ok()?;
    if digits == 0 {
        return Some(0);
    }
    let power = 10i128.checked_pow(shift.unsigned_abs());
    match (shift >= 0, power) {
        (true, Some(power)) => digits.checked_mul(power),
        (true, None) => None,
        (false, power) => {
            let (quotient, exact) = match power {
                Some(power) => (digits.div_euclid(power), digits.rem_euclid(power) == 0),
                None => (if negative { -1 } else { 0 }, false),
            };
            Some(if exact || side == Side::Min { quotient } else { quotient + 1 })
        }
    }
}
