//! Sidecars: the files of a checkpoint of the second layout, apart from its small top level.
//!
//! The top level names them, and what it says is input: they lie in one folder, whatever their
//! paths say, have the sizes that it gives, and hold file actions alone.

use bytes::Bytes;
use lakebed_log::action::Sidecar;
use lakebed_log::batch::{Footer, LogBatch, Width, decode_parquet, parquet_footer};
use lakebed_log::error::{Code, Error, Result};
use lakebed_log::log_path::{LOG_DIR, SIDECAR_DIR};
use lakebed_log::uri;

use super::fetch::Piece;
use crate::store::{Pin, Store};

/// All sidecars of a checkpoint, in the order in which it names them.
///
/// # Errors
///
/// Those of [`locate`]; `corrupt-checkpoint` if one is named twice.
pub(super) fn pieces(store: &Store, sidecars: &[Sidecar]) -> Result<Vec<Piece>> {
    let mut seen = std::collections::BTreeSet::new();
    let mut pieces = Vec::with_capacity(sidecars.len());
    for sidecar in sidecars {
        let (key, size) = locate(store, sidecar)?;
        if !seen.insert(key.clone()) {
            let what = format!("`{key}` is named twice");
            return Err(Error::new(Code::CorruptCheckpoint, what));
        }
        pieces.push(Piece {
            key,
            size,
            json: false,
            is_sidecar: true,
            is_part: false,
            pin: Pin::default(),
        });
    }
    Ok(pieces)
}

/// Key and size of a sidecar. Its path is a name, encoded as a URI; a whole path of a file in the
/// table's own folder of sidecars is accepted, any other is not.
///
/// # Errors
///
/// `path-escape` for a file that lies elsewhere, `corrupt-checkpoint` for a size that is none.
pub(crate) fn locate(store: &Store, sidecar: &Sidecar) -> Result<(String, u64)> {
    let folder = format!("{LOG_DIR}/{SIDECAR_DIR}/");
    let whole = format!("{}/{folder}", store.location());
    let path = uri::canonical(&sidecar.path);
    let name = match path.strip_prefix(&*uri::canonical(&whole)) {
        Some(name) => uri::encode(name),
        None => sidecar.path.clone(),
    };
    let name = uri::decode(&name)?;
    if name.contains('/') {
        let what = "the path of a sidecar leads to another folder";
        return Err(Error::new(Code::PathEscape, what));
    }
    let size = u64::try_from(sidecar.size_in_bytes).map_err(|_| {
        let what = format!("a sidecar has {} bytes", sidecar.size_in_bytes);
        Error::new(Code::CorruptCheckpoint, what)
    })?;
    Ok((format!("{folder}{name}"), size))
}

/// Decodes a sidecar that was fetched as a whole.
///
/// # Errors
///
/// Those of [`LogBatch::from_parquet`]; `corrupt-checkpoint` if it holds other than file actions.
pub(super) fn decode(bytes: Bytes, width: Width) -> Result<LogBatch> {
    let batch = decode_part(bytes, width)?;
    let others = batch.protocol.is_some()
        || batch.metadata.is_some()
        || batch.checkpoint_metadata.is_some()
        || !(batch.txns.is_empty() && batch.domains.is_empty() && batch.sidecars.is_empty());
    if others {
        let what = "a sidecar holds other than file actions";
        return Err(Error::new(Code::CorruptCheckpoint, what));
    }
    Ok(batch)
}

/// Decodes one of several files that share the rows of a checkpoint, fetched as a whole: there may
/// be fewer rows than files.
///
/// # Errors
///
/// Those of [`LogBatch::from_parquet`].
pub(super) fn decode_part(bytes: Bytes, width: Width) -> Result<LogBatch> {
    let size = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
    match parquet_footer(&bytes, size)? {
        Footer::Ready(it) if it.file_metadata().num_rows() == 0 => Ok(LogBatch::default()),
        Footer::Ready(it) => decode_parquet(bytes, &it, width),
        Footer::Need(_) => {
            let what = format!("a file of {size} bytes is not Parquet");
            Err(Error::new(Code::CorruptCheckpoint, what))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::env::Env;

    /// The key, or the code of the error.
    #[track_caller]
    fn check(path: &str, size: i64, expected: Result<&str, Code>) {
        let store = Env::tokio().open("file:///data/my%20t").unwrap();
        let path = path.replace("TABLE", store.location());
        let (size_in_bytes, modification_time) = (size, 0);
        let sidecar = Sidecar { path, size_in_bytes, modification_time, tags: None };
        let found = locate(&store, &sidecar).map(|it| it.0).map_err(|it| it.code());
        let expected = expected.map(|it| format!("_delta_log/_sidecars/{it}"));
        assert_eq!(found, expected, "{}", sidecar.path);
    }

    /// spec: CKPT-16
    #[test]
    fn sidecars_lie_in_their_folder() {
        check("a.parquet", 1, Ok("a.parquet"));
        check("a%20b%25.parquet", 1, Ok("a b%.parquet"));
        check("TABLE/_delta_log/_sidecars/a.parquet", 1, Ok("a.parquet"));
        check("a.parquet", -1, Err(Code::CorruptCheckpoint));
        check("../a.parquet", 1, Err(Code::PathEscape));
        check("%2e%2e%2fa.parquet", 1, Err(Code::PathEscape));
        check("x/a.parquet", 1, Err(Code::PathEscape));
        check("/etc/passwd", 1, Err(Code::PathEscape));
        check("file:///etc/passwd", 1, Err(Code::PathEscape));
        check("TABLE/_delta_log/_sidecars/../a", 1, Err(Code::PathEscape));
        check("TABLE/_delta_log/a.parquet", 1, Err(Code::PathEscape));
        check("s3://other/a.parquet", 1, Err(Code::UnsupportedPath));
    }
}
