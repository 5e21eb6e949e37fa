//! Type widening: which changes of a column's type old data files can be read through.
//!
//! A table may change the type of a column without rewriting its files, and says so in the field's
//! metadata. A file is then older than the type, and its values turn into the new one without loss.
//! The list of changes for which that is so is closed: a change that is not on it may mean anything
//! for the values in old files, so a table that names one is not read.

use serde_json::{Map, Value as Json};

use super::{DataType, PrimitiveType, StructType, json};
use crate::error::{Code, Error, Result};

/// Key of the changes in a field's metadata.
const CHANGES: &str = "delta.typeChanges";

impl StructType {
    /// Can files older than the changes of type that the schema tells of be read?
    ///
    /// # Errors
    ///
    /// `unsupported-protocol` names the field and the change.
    ///
    /// ```
    /// use lakebed_log::schema::Schema;
    ///
    /// let change = r#"{"fromType":"integer","toType":"long"}"#;
    /// let metadata = format!(r#"{{"delta.typeChanges":[{change}]}}"#);
    /// let rest = format!(r#""type":"long","nullable":true,"metadata":{metadata}"#);
    /// let schema = format!(r#"{{"type":"struct","fields":[{{"name":"a",{rest}}}]}}"#);
    /// assert!(Schema::from_json(&schema)?.check_type_changes().is_ok());
    /// let odd = schema.replace("long", "string");
    /// assert!(Schema::from_json(&odd)?.check_type_changes().is_err());
    /// # Ok::<(), lakebed_log::error::Error>(())
    /// ```
    pub fn check_type_changes(&self) -> Result<()> {
        for field in &self.fields {
            let at = |it: Error| it.at(format!("field `{}`", field.name));
            if let Some(changes) = field.metadata.get(CHANGES) {
                check(changes).map_err(at)?;
            }
            check_inside(&field.data_type).map_err(at)?;
        }
        Ok(())
    }
}

fn check_inside(of: &DataType) -> Result<()> {
    match of {
        DataType::Primitive(_) => Ok(()),
        DataType::Struct(it) => it.check_type_changes(),
        DataType::Array(it) => check_inside(&it.element),
        DataType::Map(it) => check_inside(&it.key).and_then(|()| check_inside(&it.value)),
    }
}

fn check(changes: &Json) -> Result<()> {
    let unreadable = |what: String| {
        Error::new(Code::UnsupportedProtocol, format!("{what}, which this build cannot read"))
    };
    let Some(changes) = changes.as_array() else {
        return Err(unreadable("its changes of type are no list".to_string()));
    };
    for change in changes {
        let name = |key: &str| change.as_object().and_then(|it: &Map<_, _>| it.get(key)?.as_str());
        let (Some(from), Some(to)) = (name("fromType"), name("toType")) else {
            return Err(unreadable("a change of its type has no names of types".to_string()));
        };
        let types = json::primitive(from).ok().zip(json::primitive(to).ok());
        if !types.is_some_and(|(from, to)| from == to || is_widening(from, to)) {
            let shown = |it: &str| it.chars().take(80).collect::<String>();
            let what = format!("its type was changed from `{}` to `{}`", shown(from), shown(to));
            return Err(unreadable(what));
        }
    }
    Ok(())
}

/// May a column change from one type to the other with its old files left as they are?
fn is_widening(from: PrimitiveType, to: PrimitiveType) -> bool {
    use PrimitiveType::{Byte, Date, Decimal, Double, Float, Integer, Long, Short, TimestampNtz};
    match (from, to) {
        (Byte, Short | Integer | Long | Double)
        | (Short, Integer | Long | Double)
        | (Integer, Long | Double)
        | (Float, Double)
        | (Date, TimestampNtz) => true,
        (Byte | Short | Integer, Decimal { precision, scale }) => holds(precision, scale, 10),
        (Long, Decimal { precision, scale }) => holds(precision, scale, 20),
        (Decimal { precision, scale }, Decimal { precision: to, scale: to_scale }) => {
            let whole = precision.saturating_sub(scale);
            scale <= to_scale && whole <= to.saturating_sub(to_scale)
        }
        _ => false,
    }
}

/// Has the decimal so many digits before its point?
fn holds(precision: u8, scale: u8, digits: u8) -> bool {
    precision.checked_sub(scale).is_some_and(|it| digits <= it)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schema::StructField;

    #[track_caller]
    fn check(from: &str, to: &str, reads: bool) {
        let change = serde_json::json!([{"fromType": from, "toType": to, "tableVersion": 3}]);
        let mut field = StructField::new("a", PrimitiveType::Long, true);
        field.metadata.insert(CHANGES.to_string(), change);
        let inner = StructType::new(vec![field]).unwrap();
        let list = super::super::ArrayType {
            element: DataType::Struct(inner.clone()),
            contains_null: true,
        };
        let outer = StructField::new("l", DataType::Array(Box::new(list)), true);
        for schema in [inner, StructType::new(vec![outer]).unwrap()] {
            match schema.check_type_changes() {
                Ok(()) => assert!(reads, "{from} to {to}"),
                Err(error) => {
                    assert!(!reads, "{error:?}");
                    assert_eq!(error.code(), Code::UnsupportedProtocol);
                    assert!(error.to_string().contains("`a`"), "{error}");
                }
            }
        }
    }

    /// spec: WIDE-1, WIDE-2
    #[test]
    fn the_list_of_changes_is_closed() {
        let whole = ["byte", "short", "integer", "long"];
        for (at, from) in whole.into_iter().enumerate() {
            for (other, to) in whole.into_iter().enumerate() {
                check(from, to, at <= other);
            }
            check(from, "double", from != "long");
            check(from, "float", false);
            let (least, most) = if from == "long" { (20, 38) } else { (10, 38) };
            check(from, &format!("decimal({least},0)"), true);
            check(from, &format!("decimal({},0)", least - 1), false);
            check(from, &format!("decimal({},2)", least + 2), true);
            check(from, &format!("decimal({},3)", least + 2), false);
            check(from, &format!("decimal({most},{})", most - least), true);
        }
        for (from, to, reads) in [
            ("float", "double", true),
            ("double", "float", false),
            ("date", "timestamp_ntz", true),
            ("date", "timestamp", false),
            ("decimal(5,2)", "decimal(5,2)", true),
            ("decimal(5,2)", "decimal(6,2)", true),
            ("decimal(5,2)", "decimal(6,3)", true),
            ("decimal(5,2)", "decimal(5,3)", false),
            ("decimal(5,2)", "decimal(4,1)", false),
            ("float", "decimal(38,10)", false),
            ("integer", "string", false),
            ("integer", "telepathy", false),
            ("telepathy", "long", false),
        ] {
            check(from, to, reads);
        }
    }

    /// spec: WIDE-2
    #[test]
    fn what_is_no_list_of_changes_is_refused() {
        for odd in
            [r#""x""#, "{}", "[1]", r#"[{"fromType":"byte"}]"#, r#"[{"fromType":1,"toType":2}]"#]
        {
            let mut field = StructField::new("a", PrimitiveType::Long, true);
            field.metadata.insert(CHANGES.to_string(), serde_json::from_str(odd).unwrap());
            let schema = StructType::new(vec![field]).unwrap();
            let error = schema.check_type_changes().unwrap_err();
            assert_eq!(error.code(), Code::UnsupportedProtocol, "{odd}");
        }
        let none = StructType::new(vec![StructField::new("a", PrimitiveType::Long, true)]).unwrap();
        none.check_type_changes().unwrap();
    }
}
