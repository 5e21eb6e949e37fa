//! The minimum of one column in the JSON of `add.stats`, read no further than to where it stands.
//!
//! A checkpoint is put into order by one column of all its files. Most of the text of their
//! statistics is about the other columns, and is read later, once, by those who need all of it.

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error as _, IgnoredAny, MapAccess, Visitor};
use serde_json::value::RawValue;

use super::columns::Leaf;
use super::json::{Key, Side, parse_value};
use crate::limits::STATS_BYTES_MAX;
use crate::value::Value;

/// The minimum of a column. What comes after it in the text may make no sense: it is good enough
/// to order by, and proves nothing.
pub(crate) fn least(text: &str, leaf: &Leaf) -> Option<Value> {
    if text.len() > STATS_BYTES_MAX {
        return None;
    }
    let mut found = None;
    let names = leaf.names.as_slice();
    let way = Way { first: "minValues", rest: names, found: &mut found };
    // It ends with an error where the way ends, and that may be long before the text does.
    let _ = way.deserialize(&mut serde_json::Deserializer::from_str(text));
    parse_value(found?, leaf.of?, Side::Min)
}

/// Names of objects within each other, and of the value in the last of them.
struct Way<'n, 't> {
    first: &'n str,
    rest: &'n [String],
    found: &'n mut Option<&'t str>,
}

impl<'t> DeserializeSeed<'t> for Way<'_, 't> {
    type Value = ();

    fn deserialize<D: Deserializer<'t>>(self, json: D) -> Result<(), D::Error> {
        json.deserialize_map(self)
    }
}

impl<'t> Visitor<'t> for Way<'_, 't> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("values by column")
    }

    fn visit_map<A: MapAccess<'t>>(self, mut map: A) -> Result<(), A::Error> {
        let Way { first, rest, found } = self;
        while let Some(Key(key)) = map.next_key_seed(Key::default())? {
            if key != first {
                map.next_value::<IgnoredAny>()?;
                continue;
            }
            match rest.split_first() {
                Some((first, rest)) => map.next_value_seed(Way { first, rest, found })?,
                None => *found = Some(map.next_value::<&RawValue>()?.get()),
            }
            return Err(A::Error::custom("no more is needed"));
        }
        Ok(())
    }
}
