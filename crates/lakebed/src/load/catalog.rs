//! What the catalog of a table says is committed, laid over what the log's folder holds.
//!
//! A table may hand the say over its commits to a catalog. Then a commit is a file in the folder of
//! staged commits, or bytes that the catalog keeps, and it counts from the moment the catalog
//! ratifies it; later it is published under its plain name. A staged file proves nothing by itself:
//! several may lie there for one version, and the catalog took one of them, or none.
//!
//! ```text
//!   published    0 1 2 3          4 is published and above what the catalog says: ignored
//!   ratified         2'3'  5?     the catalog's copy wins
//!   latest 3     0 1 2'3'
//! ```

use std::collections::BTreeMap;

use bytes::Bytes;
use lakebed_log::error::{Code, Error, Result};
use lakebed_log::log_path::{LOG_DIR, LogPath, STAGED_DIR};
use lakebed_log::segment::LogFile;
use lakebed_log::time::Timestamp;
use lakebed_log::version::Version;

/// What the catalog of a table says is committed: its newest version, and the commits that it has
/// ratified and that may not be published yet.
///
/// ```
/// # use lakebed::{Catalog, Version};
/// # let commit = "{\"commitInfo\":{}}";
/// let name = "00000000000000000001.4cb9708e-b478-44de-b203-53f9ba9b2876.json";
/// let catalog = Catalog::new(Version::from(2)).staged(Version::from(1), name)?;
/// let catalog = catalog.inline(Version::from(2), commit);
/// assert_eq!(catalog.latest(), Version::from(2));
/// # Ok::<(), lakebed::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Catalog {
    latest: Version,
    ratified: BTreeMap<Version, Ratified>,
}

#[derive(Clone, Debug)]
enum Ratified {
    Staged(LogPath),
    Inline(Bytes),
}

impl Catalog {
    /// A catalog that has ratified nothing beyond what is published, and knows no version above
    /// `latest`.
    pub fn new(latest: Version) -> Catalog {
        Catalog { latest, ratified: BTreeMap::new() }
    }

    /// The newest version there is.
    pub fn latest(&self) -> Version {
        self.latest
    }

    /// A version that lies in a staged file, by its name or by its path below the table's root.
    ///
    /// # Errors
    ///
    /// `invalid-argument` if that is not the name of a staged commit of the version.
    pub fn staged(mut self, version: Version, file: &str) -> Result<Catalog> {
        let folder = format!("{LOG_DIR}/{STAGED_DIR}/");
        let name = file.strip_prefix(&folder).unwrap_or(file);
        match LogPath::parse_staged(name).filter(|it| it.version() == version) {
            Some(path) => {
                self.ratified.insert(version, Ratified::Staged(path));
                Ok(self)
            }
            None => {
                let what = format!("`{name}` is not the name of a staged commit of {version}");
                Err(Error::invalid(what))
            }
        }
    }

    /// A version whose commit the catalog holds itself.
    #[must_use]
    pub fn inline(mut self, version: Version, commit: impl Into<Bytes>) -> Catalog {
        self.ratified.insert(version, Ratified::Inline(commit.into()));
        self
    }

    pub(super) fn has_staged(&self) -> bool {
        self.counted().any(|(_, it)| matches!(it, Ratified::Staged(_)))
    }

    /// What is ratified, up to the newest version.
    fn counted(&self) -> impl Iterator<Item = (Version, &Ratified)> {
        self.ratified.range(..=self.latest).map(|(version, it)| (*version, it))
    }

    /// The files of the log as the catalog sees them.
    pub(super) fn merge(
        &self,
        mut files: Vec<LogFile>,
        staged: &[LogFile],
    ) -> Result<Vec<LogFile>> {
        let covers =
            |first: &Version, last: &Version| self.ratified.range(*first..=*last).next().is_some();
        files.retain(|it| match &it.path {
            LogPath::Compacted { first, last } => *last <= self.latest && !covers(first, last),
            path => path.version() <= self.latest,
        });
        for (version, ratified) in self.counted() {
            let published = |it: &LogFile| it.path == LogPath::Commit(version);
            match ratified {
                Ratified::Inline(bytes) => {
                    let size = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
                    let there = files.iter().find(|it| published(it));
                    let modified = there.map_or(Timestamp::from_millis(0), |it| it.modified);
                    files.retain(|it| !published(it));
                    let path = LogPath::Commit(version);
                    files.push(LogFile { path, size, modified, etag: None });
                }
                Ratified::Staged(path) => match staged.iter().find(|it| it.path == *path) {
                    Some(it) => files.push(it.clone()),
                    // It was published, with the same bytes, and then cleaned up.
                    None if files.iter().any(published) => {}
                    None => {
                        let what = "the catalog names a staged commit that is not there";
                        return Err(Error::new(Code::MissingFile, what).at(path.to_path()));
                    }
                },
            }
        }
        Ok(files)
    }

    /// Takes out of `files` the commits whose bytes are here.
    pub(super) fn take_given(&self, files: &mut Vec<LogFile>) -> Vec<(Version, Bytes)> {
        let given = |it: &LogFile| match (&it.path, self.ratified.get(&it.path.version())) {
            (LogPath::Commit(version), Some(Ratified::Inline(bytes))) => {
                Some((*version, bytes.clone()))
            }
            _ => None,
        };
        let taken = files.iter().filter_map(given).collect();
        files.retain(|it| given(it).is_none());
        taken
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "80a083e8-7026-4e79-81be-64bd76c43a11";

    fn version(it: u32) -> Version {
        Version::from(it)
    }

    fn file(path: LogPath) -> LogFile {
        LogFile { path, size: 1, modified: Timestamp::from_millis(5), etag: None }
    }

    fn staged(it: u32) -> LogPath {
        LogPath::parse_staged(&format!("{it:020}.{ID}.json")).unwrap()
    }

    /// `published` are commits; what comes out is the paths, or the code of the error.
    #[track_caller]
    fn check(catalog: &Catalog, published: &[u32], there: &[u32], expected: &[LogPath]) {
        let files = published.iter().map(|it| file(LogPath::Commit(version(*it)))).collect();
        let there: Vec<_> = there.iter().map(|it| file(staged(*it))).collect();
        let merged = catalog.merge(files, &there).map_err(|it| it.code());
        let paths = merged.map(|it| it.into_iter().map(|it| it.path).collect::<Vec<_>>());
        assert_eq!(paths.as_deref(), Ok(expected));
    }

    /// spec: CAT-2, CAT-3, CAT-4, CAT-5
    #[test]
    fn the_catalog_decides() {
        let plain = |it| LogPath::Commit(version(it));
        let name = |it: u32| format!("_delta_log/_staged_commits/{it:020}.{ID}.json");
        check(&Catalog::new(version(1)), &[0, 1, 2], &[2, 3], &[plain(0), plain(1)]);
        let two = Catalog::new(version(2)).staged(version(2), &name(2)).unwrap();
        check(&two, &[0, 1], &[2, 3], &[plain(0), plain(1), staged(2)]);
        check(&two, &[0, 1, 2], &[], &[plain(0), plain(1), plain(2)]);
        let above = Catalog::new(version(1)).staged(version(2), &name(2)).unwrap();
        check(&above, &[0, 1], &[2], &[plain(0), plain(1)]);
        let inline = Catalog::new(version(1)).inline(version(1), "12345");
        let merged = inline.merge(vec![file(plain(0)), file(plain(1))], &[]).unwrap();
        assert_eq!(merged.iter().map(|it| it.size).collect::<Vec<_>>(), [1, 5]);
        let missing = two.merge(vec![file(plain(0)), file(plain(1))], &[]).unwrap_err();
        assert_eq!(missing.code(), Code::MissingFile);
        for odd in ["x.json", "../x.json", &name(3)] {
            let it = Catalog::new(version(2)).staged(version(2), odd).unwrap_err();
            assert_eq!(it.code(), Code::InvalidArgument);
        }
    }

    /// spec: CAT-6
    #[test]
    fn compacted_files_do_not_reach_over_what_is_ratified() {
        let compacted =
            |first, last| file(LogPath::Compacted { first: version(first), last: version(last) });
        let catalog = Catalog::new(version(5)).inline(version(4), "{}");
        let files = vec![compacted(0, 3), compacted(3, 4), compacted(4, 5), compacted(5, 6)];
        let merged = catalog.merge(files, &[]).unwrap();
        let kept = merged.iter().filter(|it| matches!(it.path, LogPath::Compacted { .. }));
        assert_eq!(kept.count(), 1);
    }
}
