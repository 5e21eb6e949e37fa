//! What the writers of formats cannot print, as text.
//!
//! Dates and timestamps go further than the calendar that these writers have, which ends a quarter
//! of a million years from now: such a value is spelt here, and with it its column, in every format
//! alike. And JSON knows text alone as a key.

use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::{Date32Type, TimestampMicrosecondType};
use arrow_array::{Array, ArrayRef, ListArray, MapArray, RecordBatch, StringArray, StructArray};
use arrow_cast::display::{ArrayFormatter, FormatOptions};
use arrow_schema::{ArrowError, DataType, Field, Schema, TimeUnit};
use lakebed::Value;

/// Days from the epoch that every writer prints, about two hundred thousand years.
const DAYS_SAFE: u32 = 73_000_000;
/// The same in microseconds.
const MICROS_SAFE: u64 = DAYS_SAFE as u64 * 86_400_000_000;

/// What keys of maps become.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Keys {
    /// Text, if they are none.
    Text,
    /// Nothing else.
    Kept,
}

/// The batch with text in place of what the writers do not print; nothing if they print it all.
pub(crate) fn spelt(batch: &RecordBatch, keys: Keys) -> Result<Option<RecordBatch>, ArrowError> {
    let columns = batch.columns().iter().map(|it| array(it, keys));
    let columns: Vec<Option<ArrayRef>> = columns.collect::<Result<_, _>>()?;
    if columns.iter().all(Option::is_none) {
        return Ok(None);
    }
    let columns = columns.into_iter().zip(batch.columns()).map(|(new, old)| match new {
        Some(new) => new,
        None => Arc::clone(old),
    });
    let columns: Vec<ArrayRef> = columns.collect();
    let fields = batch.schema_ref().fields().iter().zip(&columns);
    let fields: Vec<Field> = fields.map(|(field, it)| typed(field, it)).collect();
    RecordBatch::try_new(Arc::new(Schema::new(fields)), columns).map(Some)
}

fn typed(field: &Field, array: &ArrayRef) -> Field {
    field.clone().with_data_type(array.data_type().clone())
}

/// `None` if it stays as it is. How deep it goes is bounded by the table's schema.
fn array(from: &ArrayRef, keys: Keys) -> Result<Option<ArrayRef>, ArrowError> {
    match from.data_type() {
        DataType::Date32 => {
            let days = from.as_primitive::<Date32Type>();
            let far = |it: i32| DAYS_SAFE < it.unsigned_abs();
            let text = |row: usize| Value::Date(days.value(row)).to_partition();
            let rows = days.iter().map(|it| it.is_some_and(far)).collect();
            far_rows(from, rows, text)
        }
        DataType::Timestamp(TimeUnit::Microsecond, zone) => {
            let micros = from.as_primitive::<TimestampMicrosecondType>();
            let far = |it: i64| MICROS_SAFE < it.unsigned_abs();
            let text = |row: usize| {
                let text = Value::Timestamp(micros.value(row)).to_partition();
                let local = || text.trim_end_matches('Z').to_string();
                if zone.is_some() { text.clone() } else { local() }
            };
            let rows = micros.iter().map(|it| it.is_some_and(far)).collect();
            far_rows(from, rows, text)
        }
        DataType::Struct(_) => structure(from.as_struct(), keys),
        DataType::List(field) => {
            let list = from.as_list::<i32>();
            let Some(values) = array(list.values(), keys)? else { return Ok(None) };
            let field = Arc::new(typed(field, &values));
            let (offsets, nulls) = (list.offsets().clone(), list.nulls().cloned());
            Ok(Some(Arc::new(ListArray::try_new(field, offsets, values, nulls)?)))
        }
        DataType::Map(entries, sorted) => map(from.as_map(), entries, *sorted, keys),
        _ => Ok(None),
    }
}

fn structure(from: &StructArray, keys: Keys) -> Result<Option<ArrayRef>, ArrowError> {
    let columns = from.columns().iter().map(|it| array(it, keys));
    let columns: Vec<Option<ArrayRef>> = columns.collect::<Result<_, _>>()?;
    if columns.iter().all(Option::is_none) {
        return Ok(None);
    }
    let columns = columns.into_iter().zip(from.columns());
    let columns: Vec<ArrayRef> =
        columns.map(|(new, old)| new.unwrap_or_else(|| Arc::clone(old))).collect();
    let fields = from.fields().iter().zip(&columns).map(|(field, it)| typed(field, it));
    let whole = StructArray::try_new(fields.collect(), columns, from.nulls().cloned())?;
    Ok(Some(Arc::new(whole)))
}

fn map(
    from: &MapArray,
    field: &Field,
    sorted: bool,
    keys: Keys,
) -> Result<Option<ArrayRef>, ArrowError> {
    let mut names = array(from.keys(), keys)?;
    let is_text = |it: &ArrayRef| it.data_type() == &DataType::Utf8;
    let now = names.as_ref().unwrap_or(from.keys());
    if keys == Keys::Text && !is_text(now) {
        names = Some(text(now, |_| None)?);
    }
    let values = array(from.values(), keys)?;
    if names.is_none() && values.is_none() {
        return Ok(None);
    }
    let names = names.unwrap_or_else(|| Arc::clone(from.keys()));
    let values = values.unwrap_or_else(|| Arc::clone(from.values()));
    let [key, value] = from.entries().fields().as_ref() else {
        return Err(ArrowError::SchemaError("a map has keys and values".to_string()));
    };
    let fields = [typed(key, &names), typed(value, &values)];
    let entries = StructArray::try_new(fields.into_iter().collect(), vec![names, values], None)?;
    let field = Arc::new(field.clone().with_data_type(entries.data_type().clone()));
    let (offsets, nulls) = (from.offsets().clone(), from.nulls().cloned());
    Ok(Some(Arc::new(MapArray::try_new(field, offsets, entries, nulls, sorted)?)))
}

/// The column as text, those rows by `spell`; `None` if there are none of those.
fn far_rows(
    from: &ArrayRef,
    rows: Vec<bool>,
    spell: impl Fn(usize) -> String,
) -> Result<Option<ArrayRef>, ArrowError> {
    if !rows.contains(&true) {
        return Ok(None);
    }
    text(from, |row| rows.get(row).is_some_and(|it| *it).then(|| spell(row))).map(Some)
}

/// The column as its values are printed anywhere else, but for those that `spell` has a text for.
fn text(from: &ArrayRef, spell: impl Fn(usize) -> Option<String>) -> Result<ArrayRef, ArrowError> {
    let options = FormatOptions::default();
    let printer = ArrayFormatter::try_new(from, &options)?;
    let cell = |row: usize| match (from.is_null(row), spell(row)) {
        (true, _) => Ok(None),
        (_, Some(text)) => Ok(Some(text)),
        (_, None) => printer.value(row).try_to_string().map(Some),
    };
    let cells: Vec<Option<String>> = (0..from.len()).map(cell).collect::<Result<_, _>>()?;
    Ok(Arc::new(StringArray::from(cells)))
}

#[cfg(test)]
mod tests {
    use arrow_array::builder::{Int64Builder, MapBuilder, StringBuilder};
    use arrow_array::{Date32Array, Int32Array, TimestampMicrosecondArray};

    use super::*;

    fn lines(batch: &RecordBatch) -> String {
        let mut writer = arrow_json::LineDelimitedWriter::new(Vec::new());
        writer.write(batch).unwrap();
        String::from_utf8(writer.into_inner()).unwrap()
    }

    /// Dates of any year are printed, also inside of other types, and near ones as they were.
    #[test]
    fn far_years_are_printed() {
        let days: ArrayRef = Arc::new(Date32Array::from(vec![Some(i32::MAX), None, Some(0)]));
        let micros = TimestampMicrosecondArray::from(vec![i64::MAX, i64::MIN, 1_500_000]);
        let zoned: ArrayRef = Arc::new(micros.clone().with_timezone("UTC"));
        let inner = vec![Arc::clone(&days)];
        let fields = vec![Field::new("d", DataType::Date32, true)];
        let nested: ArrayRef = Arc::new(StructArray::new(fields.into(), inner, None));
        let columns = [
            ("d", days),
            ("t", zoned),
            ("n", Arc::new(micros) as ArrayRef),
            ("s", nested),
            ("i", Arc::new(Int32Array::from(vec![1, 2, 3]))),
        ];
        let batch = RecordBatch::try_from_iter(columns).unwrap();
        let far = spelt(&batch, Keys::Kept).unwrap().unwrap();
        let expected = [
            r#"{"d":"+5881580-07-11","t":"+294247-01-10T04:00:54.775807Z","#,
            r#""n":"+294247-01-10T04:00:54.775807","s":{"d":"+5881580-07-11"},"i":1}"#,
            "\n",
            r#"{"t":"-290308-12-21T19:59:05.224192Z","n":"-290308-12-21T19:59:05.224192","#,
            r#""s":{},"i":2}"#,
            "\n",
            r#"{"d":"1970-01-01","t":"1970-01-01T00:00:01.500Z","n":"1970-01-01T00:00:01.500","#,
            r#""s":{"d":"1970-01-01"},"i":3}"#,
            "\n",
        ];
        assert_eq!(lines(&far), expected.concat());
        assert!(spelt(&batch.slice(2, 1), Keys::Text).unwrap().is_none());
    }

    /// Keys of maps are text in JSON, those of maps in maps as well.
    #[test]
    fn keys_are_text() {
        let inner = MapBuilder::new(None, Int64Builder::new(), StringBuilder::new());
        let mut outer = MapBuilder::new(None, Int64Builder::new(), inner);
        outer.keys().append_value(7);
        outer.values().keys().append_value(-1);
        outer.values().values().append_value("x");
        outer.values().append(true).unwrap();
        outer.append(true).unwrap();
        outer.append(false).unwrap();
        let maps: ArrayRef = Arc::new(outer.finish());
        let batch = RecordBatch::try_from_iter_with_nullable([("m", maps, true)]).unwrap();
        assert!(spelt(&batch, Keys::Kept).unwrap().is_none());
        let texts = spelt(&batch, Keys::Text).unwrap().unwrap();
        assert_eq!(lines(&texts), "{\"m\":{\"7\":{\"-1\":\"x\"}}}\n{}\n");
    }
}
