//! Is an older version what readers once saw under its number?
//!
//! The marker of our cleanup tells what may be gone (see `marker`); the cleanup of other engines
//! leaves none. Put-if-absent protects a version only while its commit is there. A put that was
//! under way for longer than the log is kept may create the number anew, and where cleanup died
//! half-way an older checkpoint may still stand below it:
//!
//! ```text
//!   before cleanup   2c 3 4 4c 5       3 is the true one
//!   half-way         2c     4 4c 5     it should have taken 2c, too
//!   the late put     2c 3'  4 4c 5     2c and 3' look like version 3
//! ```
//!
//! Commits of Lakebed name the one before them, so 4 gives 3' away. The newest version never rests
//! on such a commit, because cleanup leaves everything from a checkpoint on; so only who asks for
//! an older one, in a log that has lost its beginning, pays for the look.

use lakebed_log::batch::Width;
use lakebed_log::error::{Code, Error};
use lakebed_log::log_path::LogPath;
use lakebed_log::segment::{LogFile, LogSegment};
use lakebed_log::version::Version;

use super::commits::read_commit;
use super::fetch::Trouble;
use super::marker::is_cut;
use super::{Loaded, Opening, Seen, follows_from};

/// What can vouch for an older version of a log.
pub(super) enum Voucher {
    /// Nothing has to.
    Needless,
    /// The commit after it.
    Next(LogFile),
    /// There is none.
    None,
}

/// What a whole listing has to vouch for a version.
pub(super) fn voucher(files: &[LogFile], target: Option<Version>) -> Voucher {
    let Some(target) = target.filter(|_| is_cut(files)) else { return Voucher::Needless };
    if !files.iter().any(|it| target < it.path.version()) {
        return Voucher::Needless;
    }
    let next = target.next().map(LogPath::Commit);
    match files.iter().find(|it| Some(&it.path) == next.as_ref()) {
        Some(it) => Voucher::Next(it.clone()),
        None => Voucher::None,
    }
}

impl Opening<'_> {
    /// Loads a version, and sees that it is what readers once saw under its number.
    pub(super) async fn load_vouched(
        &self,
        segment: LogSegment,
        seen: Seen,
        voucher: Voucher,
    ) -> Result<Loaded, Trouble> {
        let loaded = self.load(segment, seen).await?;
        let Opening { env, op, store, .. } = self;
        let is_checkpoint = loaded.segment.commits.is_empty();
        let follows = match voucher {
            Voucher::Needless => true,
            Voucher::None => is_checkpoint,
            Voucher::Next(_) if is_checkpoint => true,
            Voucher::Next(file) => {
                let next = read_commit(env, op, store, &file, Width::Head).await?;
                follows_from(&loaded.head, &next.batch)
            }
        };
        match follows {
            true => Ok(loaded),
            false => Err(Trouble::Final(expired(loaded.head.version).at(store.location()))),
        }
    }
}

/// The version that was asked for is gone, and something else is found in its place.
fn expired(version: Version) -> Error {
    let what = format!(
        "the log of version {version} has been cleaned up, and what is left of it is not \
         what was committed there"
    );
    Error::new(Code::VersionNotFound, what)
}
