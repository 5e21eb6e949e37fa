//! DDL.
use super::*;
pub(super) fn parse(_text: &str) -> Result<StructType> {
    todo!()
}
pub(super) fn quoted(name: &str) -> String {
    let plain = name.chars().all(|it| it.is_alphanumeric() || it == '_');
    if plain { name.to_string() } else { format!("`{}`", name.replace('`', "``")) }
}
