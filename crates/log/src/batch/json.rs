//! The text of a commit to a [`LogBatch`], in one pass.

use bytes::Bytes;

use crate::action::{
    Action, AddRow, CommitInfo, Parser, RemoveRow, Row, Wanted, invalid, line, short,
};
use crate::batch::build::{AddsBuilder, RemovesBuilder};
use crate::batch::rules::{self, Lines};
use crate::batch::{LogBatch, Run, Width};
use crate::crc::crc32;
use crate::error::{Code, Error, Result};
use crate::limits::{COMMIT_BYTES_MAX, LINE_BYTES_MAX};

/// What a file of lines is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    /// The actions of one version.
    Commit,
    /// What several versions amount to.
    Compacted,
    /// The top level of a checkpoint.
    Checkpoint,
}

/// A tag of the first line of a checkpoint of ours: the CRC-32 of all bytes behind that line.
pub(crate) const BODY_CRC32: &str = "lakebed.bodyCrc32";

/// See [`LogBatch::from_json_checkpoint`].
pub(super) fn checkpoint(bytes: &[u8], width: Width) -> Result<LogBatch> {
    let batch = decode(bytes, width, Form::Checkpoint).map_err(|it| match it.code() {
        Code::CorruptLog | Code::InvalidAction => it.with_code(Code::CorruptCheckpoint),
        _ => it,
    })?;
    let tags = batch.checkpoint_metadata.as_ref().and_then(|it| it.tags.as_ref());
    if let Some(Some(expected)) = tags.and_then(|it| it.get(BODY_CRC32)) {
        let start = bytes.iter().position(|it| *it == b'\n').map_or(bytes.len(), |it| it + 1);
        let found = crc32(bytes.get(start..).unwrap_or_default()).to_string();
        if found != *expected {
            let what = format!("`{BODY_CRC32}` is {}, but {found} was found", short(expected));
            return Err(Error::new(Code::CorruptCheckpoint, what));
        }
    }
    Ok(batch)
}

/// See [`LogBatch::from_json`] and its kin.
pub(super) fn decode(bytes: &[u8], width: Width, form: Form) -> Result<LogBatch> {
    let text = utf8(bytes)?;
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut decoder = Decoder::new(width);
    decoder.fill(text, width)?;
    decoder.finish(form)
}

/// See [`Run::from_commits`].
pub(super) fn run(commits: &[Bytes]) -> Result<Option<(Vec<LogBatch>, Run)>> {
    let width = Width::Narrow;
    let mut shared = Decoder::new(width);
    let mut batches = Vec::with_capacity(commits.len());
    let mut lines = Vec::with_capacity(commits.len());
    for bytes in commits {
        let text = utf8(bytes)?;
        shared.fill(text.strip_prefix('\u{feff}').unwrap_or(text), width)?;
        if shared.is_rooted() {
            return Ok(None);
        }
        let (batch, its_lines) = shared.next_commit();
        rules::check_names(&batch, &its_lines)?;
        batches.push(batch);
        lines.push(its_lines);
    }
    let (adds, removes) = (shared.adds.finish(false)?, shared.removes.finish()?);
    let (mut added, mut removed) = (0, 0);
    let mut rows = Vec::with_capacity(lines.len());
    for lines in &lines {
        let ours = (added..added + lines.adds.len(), removed..removed + lines.removes.len());
        (added, removed) = (ours.0.end, ours.1.end);
        if 1 < ours.0.len() + ours.1.len() {
            let adds = adds.as_ref().map(|it| it.slice(ours.0.clone())).transpose()?;
            let removes = removes.as_ref().map(|it| it.slice(ours.1.clone())).transpose()?;
            rules::check_files(&LogBatch { adds, removes, ..LogBatch::default() }, lines)?;
        }
        rows.push(ours);
    }
    Ok(Some((batches, Run { adds, removes, rows })))
}

/// See [`LogBatch::from_actions`].
pub(super) fn from_actions(actions: &[Action]) -> Result<LogBatch> {
    let mut decoder = Decoder::new(Width::Wide);
    for (at, action) in actions.iter().enumerate() {
        let row = match action {
            Action::Add(add) => Row::Add(AddRow::from(add)),
            Action::Remove(remove) => Row::Remove(RemoveRow::from(remove)),
            other => Row::Other(Some(Box::new(other.clone()))),
        };
        decoder.take(row, at + 1)?;
    }
    decoder.finish(Form::Commit)
}

/// The text of a commit, within its limit.
pub(super) fn utf8(bytes: &[u8]) -> Result<&str> {
    if u64::try_from(bytes.len()).is_ok_and(|it| it > COMMIT_BYTES_MAX) {
        let what = format!("the commit has {} bytes, the limit is {COMMIT_BYTES_MAX}", bytes.len());
        return Err(Error::new(Code::LimitExceeded, what));
    }
    std::str::from_utf8(bytes).map_err(|error| {
        let before = bytes.iter().take(error.valid_up_to());
        let number = before.filter(|it| **it == b'\n').count() + 1;
        corrupt("the line is not UTF-8").because(error).at(format!("line {number}"))
    })
}

/// Does the engine of a commit write names below the table's root with a slash before them?
pub(super) fn writes_rooted(info: &CommitInfo) -> bool {
    let engine = info.fields.get("engineInfo").and_then(|it| it.as_str());
    engine.is_some_and(|it| it.starts_with("DuckDB"))
}

/// A batch while it is being filled.
struct Decoder {
    batch: LogBatch,
    adds: AddsBuilder,
    removes: RemovesBuilder,
    lines: Lines,
}

impl Decoder {
    fn new(width: Width) -> Decoder {
        Decoder {
            batch: LogBatch::default(),
            adds: AddsBuilder::new(width),
            removes: RemovesBuilder::new(),
            lines: Lines::default(),
        }
    }

    /// Takes every line of a file.
    fn fill(&mut self, text: &str, width: Width) -> Result<()> {
        let wanted = Wanted { files: width > Width::Head, stats: width == Width::Wide };
        let mut parser = Parser::new(text);
        let mut number = 0;
        let mut documents = 0_u64;
        while !parser.is_done() {
            number += 1;
            let start = parser.at();
            if parser.end_line() {
                continue;
            }
            let placed = |error: Error| error.at(format!("line {number}"));
            let row = line(&mut parser, wanted).map_err(placed)?;
            if !parser.end_line() {
                return Err(placed(corrupt("something follows the object of the line")));
            }
            let length = parser.at() - start;
            if length > LINE_BYTES_MAX {
                let what = format!("the line has {length} bytes, the limit is {LINE_BYTES_MAX}");
                return Err(placed(Error::new(Code::LimitExceeded, what)));
            }
            self.take(row, number).map_err(placed)?;
            documents += 1;
        }
        if documents == 0 {
            return Err(corrupt("the file holds no line, not even an empty object"));
        }
        Ok(())
    }

    /// See [`writes_rooted`].
    fn is_rooted(&self) -> bool {
        self.batch.commit_info.as_ref().is_some_and(writes_rooted)
    }

    /// What one commit said beside its file actions, and its lines; they stay in the columns, to
    /// which the next commit adds its own.
    fn next_commit(&mut self) -> (LogBatch, Lines) {
        (std::mem::take(&mut self.batch), std::mem::take(&mut self.lines))
    }

    fn take(&mut self, row: Row<'_>, line: usize) -> Result<()> {
        match row {
            Row::Add(row) => {
                self.adds.append(&row)?;
                self.lines.adds.push(line);
            }
            Row::Remove(row) => {
                self.removes.append(&row)?;
                self.lines.removes.push(line);
            }
            Row::Unwanted => {}
            Row::Other(None) => return Ok(()),
            Row::Other(Some(action)) => self.other(*action, line)?,
        }
        self.batch.actions += 1;
        Ok(())
    }

    fn other(&mut self, action: Action, line: usize) -> Result<()> {
        let batch = &mut self.batch;
        match action {
            Action::CommitInfo(info) => {
                batch.commit_info_first |= batch.actions == 0;
                batch.commit_info.get_or_insert(info);
            }
            Action::Protocol(protocol) => only(&mut batch.protocol, protocol, "protocol")?,
            Action::Metadata(metadata) => only(&mut batch.metadata, metadata, "metaData")?,
            Action::AddCdc(cdc) => batch.cdc.push(cdc),
            Action::SetTransaction(txn) => {
                batch.txns.push(txn);
                self.lines.txns.push(line);
            }
            Action::DomainMetadata(domain) => {
                batch.domains.push(domain);
                self.lines.domains.push(line);
            }
            Action::CheckpointMetadata(it) => {
                only(&mut batch.checkpoint_metadata, it, "checkpointMetadata")?;
            }
            Action::Sidecar(sidecar) => batch.sidecars.push(sidecar),
            Action::Add(_) | Action::Remove(_) => {
                return Err(Error::internal("a file action outside its column"));
            }
        }
        Ok(())
    }

    fn finish(mut self, form: Form) -> Result<LogBatch> {
        let rooted = form == Form::Commit && self.is_rooted();
        self.batch.adds = self.adds.finish(rooted)?;
        self.batch.removes = self.removes.finish()?;
        rules::check_names(&self.batch, &self.lines)?;
        match form {
            Form::Commit => rules::check_files(&self.batch, &self.lines)?,
            Form::Compacted => {
                rules::check_compacted(&self.batch)?;
                // They belong to one version, and this is none.
                self.batch.commit_info = None;
                self.batch.commit_info_first = false;
                self.batch.cdc.clear();
            }
            Form::Checkpoint => rules::check_checkpoint(&self.batch)?,
        }
        Ok(self.batch)
    }
}

/// Fills what a commit may hold once.
fn only<T>(slot: &mut Option<T>, value: T, name: &str) -> Result<()> {
    if slot.is_some() {
        return Err(invalid(format!("a second `{name}` in one commit")));
    }
    *slot = Some(value);
    Ok(())
}

pub(super) fn corrupt(what: impl Into<String>) -> Error {
    Error::new(Code::CorruptLog, what)
}
