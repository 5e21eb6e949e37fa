//! The file actions of a commit by the lines that they stand on.
//!
//! Who cannot hold a long log reads it several times, each time for some of its rows. The first
//! time, every line is looked into and checked, and it is noted where each begins; later the lines
//! that are wanted are decoded and the others are not even looked at:
//!
//! ```text
//!   first    {"add": a} {"add": b} {"remove": c} {"add": d}     0 a   120 b   250 -c   310 d
//!   later          a                                   d        straight into columns
//! ```

use std::borrow::Cow;

use crate::action::{Action, Parser, Row, Wanted, line};
use crate::batch::build::{AddsBuilder, RemovesBuilder};
use crate::batch::json::{corrupt, utf8, writes_rooted};
use crate::batch::rules::spelled_one;
use crate::batch::{Adds, Removes, Width};
use crate::error::{Code, Error, Result};
use crate::limits::LINE_BYTES_MAX;

/// All there is to know of a file action.
const WIDE: Wanted = Wanted { files: true, stats: true };

/// File actions of some lines of a commit, wide, and where their lines begin, in bytes.
pub(crate) struct FileLines {
    pub(crate) adds: Option<Adds>,
    pub(crate) add_lines: Vec<u32>,
    pub(crate) removes: Option<Removes>,
    pub(crate) remove_lines: Vec<u32>,
}

/// Hands the file actions of whole lines of a commit, which begin at byte `at` of it, to `each`,
/// some rows at a time; every line is taken as strictly as
/// [`LogBatch::from_json`](crate::batch::LogBatch::from_json) takes it, and what holds for lines
/// together is not checked. `is_rooted`: the commit writes names below the table's root with a
/// slash before them. Gives what a first `commitInfo` among the lines says of that, if there is
/// one.
///
/// # Errors
///
/// Those of the lines, and of `each`.
pub(crate) fn file_lines(
    bytes: &[u8],
    at: usize,
    is_rooted: bool,
    rows_max: usize,
    mut each: impl FnMut(FileLines) -> Result<()>,
) -> Result<Option<bool>> {
    let whole = utf8(bytes)?;
    let text = whole.strip_prefix('\u{feff}').filter(|_| at == 0).unwrap_or(whole);
    let before = at + (whole.len() - text.len());
    let mut parser = Parser::new(text);
    let mut rows = Rows::new();
    let mut rooted = None;
    while !parser.is_done() {
        let start = parser.at();
        if parser.end_line() {
            continue;
        }
        let placed = |it: Error| it.at(format!("byte {}", before + start));
        match line(&mut parser, WIDE).map_err(placed)? {
            Row::Add(row) => {
                rows.adds.append(&row).map_err(placed)?;
                rows.add_lines.push(offset(before + start)?);
            }
            Row::Remove(row) => {
                rows.removes.append(&row).map_err(placed)?;
                rows.remove_lines.push(offset(before + start)?);
            }
            Row::Other(Some(action)) => {
                if let Action::CommitInfo(info) = *action {
                    rooted.get_or_insert(writes_rooted(&info));
                }
            }
            Row::Other(None) | Row::Unwanted => {}
        }
        if !parser.end_line() {
            return Err(placed(corrupt("something follows the object of the line")));
        }
        let length = parser.at() - start;
        if LINE_BYTES_MAX < length {
            let what = format!("the line has {length} bytes, the limit is {LINE_BYTES_MAX}");
            return Err(placed(Error::new(Code::LimitExceeded, what)));
        }
        if rows_max <= rows.add_lines.len() + rows.remove_lines.len() {
            each(std::mem::replace(&mut rows, Rows::new()).finish(is_rooted)?)?;
        }
    }
    each(rows.finish(is_rooted)?)?;
    Ok(rooted)
}

fn offset(at: usize) -> Result<u32> {
    u32::try_from(at).map_err(|_| Error::new(Code::LimitExceeded, "the commit is too long"))
}

struct Rows {
    adds: AddsBuilder,
    add_lines: Vec<u32>,
    removes: RemovesBuilder,
    remove_lines: Vec<u32>,
}

impl Rows {
    fn new() -> Rows {
        Rows {
            adds: AddsBuilder::new(Width::Wide),
            add_lines: Vec::new(),
            removes: RemovesBuilder::new(),
            remove_lines: Vec::new(),
        }
    }

    fn finish(self, is_rooted: bool) -> Result<FileLines> {
        Ok(FileLines {
            adds: self.adds.finish(is_rooted)?,
            add_lines: self.add_lines,
            removes: self.removes.finish()?,
            remove_lines: self.remove_lines,
        })
    }
}

/// Adds of some lines of some commits, wide.
pub(crate) struct PickedAdds(AddsBuilder);

impl PickedAdds {
    /// With room for so many rows, of so many bytes of lines.
    pub(crate) fn new(rows: usize, text_bytes: usize) -> PickedAdds {
        PickedAdds(AddsBuilder::with_room(rows, text_bytes))
    }

    /// Takes the line that begins at a byte. `false` if it is no `add`.
    ///
    /// # Errors
    ///
    /// Those of the line.
    pub(crate) fn push(&mut self, bytes: &[u8], at: usize, is_rooted: bool) -> Result<bool> {
        match line(&mut Parser::new(line_at(bytes, at)?), WIDE)? {
            Row::Add(mut row) => {
                if let Cow::Owned(path) = spelled_one(&row.path, is_rooted) {
                    row.path = Cow::Owned(path);
                }
                self.0.append(&row)?;
                Ok(true)
            }
            _ => Ok(false),
        }
    }

    /// `None` if nothing was taken.
    ///
    /// # Errors
    ///
    /// `internal` if the rows do not make up columns.
    pub(crate) fn finish(self) -> Result<Option<Adds>> {
        // Each path is spelled already.
        self.0.finish(true)
    }
}

/// The same of removes.
pub(crate) struct PickedRemoves(RemovesBuilder);

impl PickedRemoves {
    pub(crate) fn new() -> PickedRemoves {
        PickedRemoves(RemovesBuilder::new())
    }

    /// As [`PickedAdds::push`].
    ///
    /// # Errors
    ///
    /// Those of the line.
    pub(crate) fn push(&mut self, bytes: &[u8], at: usize) -> Result<bool> {
        match line(&mut Parser::new(line_at(bytes, at)?), WIDE)? {
            Row::Remove(row) => {
                self.0.append(&row)?;
                Ok(true)
            }
            _ => Ok(false),
        }
    }

    /// As [`PickedAdds::finish`].
    ///
    /// # Errors
    ///
    /// `internal` if the rows do not make up columns.
    pub(crate) fn finish(self) -> Result<Option<Removes>> {
        self.0.finish()
    }
}

/// From a byte on up to the end of the line.
fn line_at(bytes: &[u8], at: usize) -> Result<&str> {
    let rest = bytes.get(at..).unwrap_or_default();
    let length = rest.iter().position(|it| *it == b'\n').unwrap_or(rest.len());
    let line = rest.get(..length).unwrap_or_default();
    std::str::from_utf8(line).map_err(|it| corrupt("the line is not UTF-8").because(it))
}
