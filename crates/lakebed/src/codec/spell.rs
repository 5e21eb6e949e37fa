//! Text out of places in a dictionary.
//!
//! A column of few different texts is a dictionary and small numbers. The library can spell it out
//! while it decodes, value by value, each copied in its own length. Where the texts are short, all
//! are copied in the same length instead, each over what the one before has too much: a copy of a
//! length that is known beforehand is a few instructions and never guesses wrong.
//!
//! ```text
//!   AIR.....  TRUCK...  FOB.....          the dictionary, filled up
//!   AIR.....                              places: 0 1 2
//!      TRUCK...
//!           FOB.....
//!   AIRTRUCKFOB                           offsets: 0 3 8 11
//! ```

use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::Int32Type;
use arrow_array::{Array, ArrayRef, DictionaryArray, Int32Array, StringArray};
use arrow_buffer::{Buffer, OffsetBuffer};
use arrow_schema::ArrowError;
use arrow_select::take::take;
use lakebed_log::error::{Error, Result};

use super::live::Live;

/// Longest text that is copied in one length for all.
pub(super) const SHORT_BYTES: usize = 32;
/// A dictionary is filled up anew for each batch, so it has one text in so many rows at most.
pub(super) const ROWS_PER_TEXT: usize = 8;

/// A place that no dictionary has.
const NOWHERE: i32 = -1;

/// A text of the dictionary, filled up.
#[derive(Clone, Copy, Debug, Default)]
struct Entry {
    bytes: [u8; SHORT_BYTES],
    len: i32,
}

/// The text of the rows that are left.
pub(super) fn spell(coded: DictionaryArray<Int32Type>, live: &Live) -> Result<ArrayRef> {
    let most = coded.len() / ROWS_PER_TEXT;
    let (places, texts) = coded.into_parts();
    let places = live.fixed(places)?;
    let entries = match texts.as_string_opt::<i32>() {
        Some(texts) if texts.len() <= most => filled_up(texts),
        _ => None,
    };
    match entries.filter(|_| places.len() <= i32::MAX as usize / SHORT_BYTES) {
        Some(entries) => short(entries, places),
        None => take(&texts, &places, None).map_err(lost),
    }
}

/// Short texts, each copied in the same length.
fn short(mut entries: Vec<Entry>, places: Int32Array) -> Result<ArrayRef> {
    let (_, places, nulls) = places.into_parts();
    let places = match &nulls {
        None => places,
        Some(nulls) => {
            // Behind the texts, where no place may point to.
            let blank = i32::try_from(entries.len()).unwrap_or(i32::MAX);
            entries.push(Entry::default());
            let place = |(at, is_there): (&i32, bool)| match is_there {
                true if *at == blank => NOWHERE,
                true => *at,
                false => blank,
            };
            places.iter().zip(nulls).map(place).collect()
        }
    };
    let entry = |at: &i32| usize::try_from(*at).ok().and_then(|it| entries.get(it));

    let mut offsets = Vec::with_capacity(places.len() + 1);
    let (mut end, mut lacks) = (0i32, false);
    offsets.push(end);
    offsets.extend(places.iter().map(|at| {
        lacks |= entry(at).is_none();
        end += entry(at).map_or(0, |it| it.len);
        end
    }));
    if lacks {
        return Err(Error::internal("a text is not in its dictionary"));
    }
    let total = usize::try_from(end).unwrap_or(0);
    let mut bytes = vec![0; total + SHORT_BYTES];
    for (at, start) in places.iter().zip(&offsets) {
        let place = usize::try_from(*start).ok().and_then(|it| bytes.get_mut(it..));
        let place = place.and_then(|it| it.first_chunk_mut::<SHORT_BYTES>());
        if let (Some(entry), Some(place)) = (entry(at), place) {
            *place = entry.bytes;
        }
    }
    bytes.truncate(total);
    let offsets = OffsetBuffer::new(offsets.into());
    let text = StringArray::try_new(offsets, Buffer::from_vec(bytes), nulls);
    Ok(Arc::new(text.map_err(lost)?))
}

/// The texts; `None` if one is long, or null.
fn filled_up(texts: &StringArray) -> Option<Vec<Entry>> {
    let mut entries = Vec::with_capacity(texts.len() + 1);
    for text in texts {
        let text = text?.as_bytes();
        let mut entry = Entry { len: i32::try_from(text.len()).ok()?, ..Entry::default() };
        entry.bytes.get_mut(..text.len())?.copy_from_slice(text);
        entries.push(entry);
    }
    Some(entries)
}

fn lost(err: ArrowError) -> Error {
    Error::internal("text does not come out of its dictionary").because(err)
}

#[cfg(test)]
mod tests;
