//! Records of CSV, found in the raw bytes: whole ones, with the line on which each begins.
//!
//! The CSV parser takes a quote that nobody closes for a cell that holds the rest of the file, and
//! counts records where people count lines. So the bytes are cut into records first, by the same
//! rules of quoting, and the parser gets whole records, in batches of bounded bytes.

use std::fs::File;
use std::io::{BufRead, BufReader};

use lakebed::{Code, Error, Result};

use super::{BATCH_BYTES, BATCH_ROWS, ROW_BYTES, unreadable};

/// Bytes of some records, each ended, and where they begin.
#[derive(Debug, Default)]
pub(super) struct Records {
    pub(super) bytes: Vec<u8>,
    /// The line of each record, from 1.
    pub(super) lines: Vec<usize>,
    /// Cells of the first record.
    pub(super) cells: usize,
    /// What separates the cells.
    pub(super) delimiter: u8,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Before the first byte of a record; empty lines are none.
    Record,
    /// Before the first byte of a cell.
    Cell,
    Bare,
    Quoted,
    /// After a quote in a quoted cell: its end, or half of a doubled one.
    Quote,
}

/// Cuts a file into records.
pub(super) struct Cutter {
    name: String,
    reader: BufReader<File>,
    delimiter: u8,
    line: usize,
    state: State,
    last: u8,
    /// Cells that each record must have; known after the first.
    width: Option<usize>,
    /// Cells before the one that is being read.
    cells: usize,
    quote_line: usize,
    at_start: bool,
}

impl Cutter {
    pub(super) fn new(name: String, file: File, delimiter: u8) -> Cutter {
        Cutter {
            name,
            reader: BufReader::with_capacity(64 << 10, file),
            delimiter,
            line: 1,
            state: State::Record,
            last: 0,
            width: None,
            cells: 0,
            quote_line: 0,
            at_start: true,
        }
    }

    /// The next records, at most `rows`; none at the end.
    ///
    /// # Errors
    ///
    /// `invalid-data` for a quote that is open at the end, a record too long, or one of another
    /// number of cells than the first.
    pub(super) fn next(&mut self, rows: usize) -> Result<Option<Records>> {
        let rows = rows.min(BATCH_ROWS);
        let mut found = Records { delimiter: self.delimiter, ..Records::default() };
        let mut start = 0;
        loop {
            let buffer = match self.reader.fill_buf() {
                Ok(buffer) => buffer,
                Err(error) => return Err(unreadable(&self.name, error)),
            };
            if buffer.is_empty() {
                break;
            }
            // Borrowed bytes would hold `self`; the buffer is small.
            let mut bytes = buffer.to_vec();
            let mark = if self.at_start && bytes.starts_with(b"\xef\xbb\xbf") { 3 } else { 0 };
            self.at_start = false;
            bytes.drain(..mark);
            let mut used = 0;
            let mut full = false;
            for byte in &bytes {
                used += 1;
                if self.see(*byte, &mut found, start)? {
                    start = found.bytes.len();
                    full = found.lines.len() == rows || BATCH_BYTES <= found.bytes.len();
                    if full {
                        break;
                    }
                }
            }
            self.reader.consume(used + mark);
            if ROW_BYTES < found.bytes.len().saturating_sub(start) {
                return Err(self.too_long(found.lines.last().copied().unwrap_or(self.line)));
            }
            if full {
                return Ok(Some(found));
            }
        }
        if self.state == State::Quoted {
            let what = "the quote that opens here is never closed";
            return Err(self.error(what.to_string(), self.quote_line));
        }
        if self.state != State::Record {
            self.end(&mut found)?;
        }
        Ok((!found.lines.is_empty()).then_some(found))
    }

    /// Takes one byte; true if it ends a record.
    fn see(&mut self, byte: u8, found: &mut Records, start: usize) -> Result<bool> {
        let is_end = matches!(byte, b'\n' | b'\r');
        let is_new_line = byte == b'\r' || (byte == b'\n' && self.last != b'\r');
        self.last = byte;
        if self.state == State::Record {
            if is_end {
                self.line += usize::from(is_new_line);
                return Ok(false);
            }
            debug_assert_eq!(start, found.bytes.len());
            found.lines.push(self.line);
            self.cells = 0;
            self.state = State::Cell;
        }
        let before = self.state;
        self.state = match (before, byte) {
            (State::Quoted, b'"') => State::Quote,
            (State::Quoted, _) => State::Quoted,
            (State::Quote | State::Cell, b'"') => State::Quoted,
            _ if is_end => State::Record,
            (_, it) if it == self.delimiter => State::Cell,
            _ => State::Bare,
        };
        if before == State::Cell && self.state == State::Quoted {
            self.quote_line = self.line;
        }
        self.cells += usize::from(self.state == State::Cell);
        if self.state == State::Record {
            self.end(found)?;
            self.line += usize::from(is_new_line);
            return Ok(true);
        }
        found.bytes.push(byte);
        self.line += usize::from(is_new_line);
        Ok(false)
    }

    /// A record is whole.
    fn end(&mut self, found: &mut Records) -> Result<()> {
        self.state = State::Record;
        found.bytes.push(b'\n');
        let cells = self.cells + 1;
        let width = *self.width.get_or_insert(cells);
        let line = found.lines.last().copied().unwrap_or(self.line);
        if cells != width {
            let what = format!("the record has {cells} cells, the first one {width}");
            return Err(self.error(what, line));
        }
        found.cells = width;
        Ok(())
    }

    fn too_long(&self, line: usize) -> Error {
        let limit = ROW_BYTES >> 20;
        if self.state == State::Quoted {
            let what = format!("the quote that opens here is not closed within {limit} MiB");
            return self.error(what, self.quote_line);
        }
        self.error(format!("the record is longer than {limit} MiB"), line)
    }

    fn error(&self, what: String, line: usize) -> Error {
        Error::new(Code::InvalidData, what).at(format!("line {line}")).at(&self.name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Seek, SeekFrom, Write};

    fn cut(text: &str) -> Result<Vec<(usize, String)>> {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(text.as_bytes()).unwrap();
        file.seek(SeekFrom::Start(0)).unwrap();
        let mut cutter = Cutter::new("f".into(), file, b',');
        let mut all = Vec::new();
        while let Some(found) = cutter.next(1)? {
            let text = String::from_utf8(found.bytes).unwrap();
            all.push((found.lines[0], text));
        }
        Ok(all)
    }

    #[test]
    fn records_begin_on_lines() {
        let rows: &[(&str, &[(usize, &str)])] = &[
            ("", &[]),
            ("\n\r\n", &[]),
            ("a\nb", &[(1, "a\n"), (2, "b\n")]),
            ("a\r\n\r\nb\r\n", &[(1, "a\n"), (3, "b\n")]),
            ("a\rb\r", &[(1, "a\n"), (2, "b\n")]),
            ("\"a\nb\"\nc", &[(1, "\"a\nb\"\n"), (3, "c\n")]),
            ("\"a\"\"\n\"\nc", &[(1, "\"a\"\"\n\"\n"), (3, "c\n")]),
            ("a\"b\nc", &[(1, "a\"b\n"), (2, "c\n")]),
            ("\u{feff}\"a\"\n", &[(1, "\"a\"\n")]),
            ("1,\n,2", &[(1, "1,\n"), (2, ",2\n")]),
        ];
        for (text, expected) in rows {
            let expected: Vec<_> = expected.iter().map(|it| (it.0, it.1.to_string())).collect();
            assert_eq!(cut(text).unwrap(), expected, "{text:?}");
        }
    }

    #[test]
    fn open_quotes_and_ragged_records_are_named() {
        let rows = [
            ("a,b\n1,\"x\n2,y\n3,z\n", "line 2"),
            ("a\n\n\"x\ny\" \n\"", "line 5"),
            ("a,b\n\"1\n2\",\n3\n", "line 4"),
        ];
        for (text, line) in rows {
            let error = cut(text).unwrap_err().to_string();
            assert!(error.contains(line), "{text:?}: {error}");
        }
    }
}
