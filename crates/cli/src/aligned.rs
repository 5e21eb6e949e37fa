//! Rows as aligned columns, for people.
//!
//! The first rows are held back to measure them, so that small results fit whatever batches they
//! come in; those after them are printed as they come, and a wider cell shifts its row.

use std::io::Write as _;

use arrow_array::RecordBatch;
use arrow_cast::display::{ArrayFormatter, FormatOptions};
use arrow_schema::{ArrowError, SchemaRef};

use crate::exit::plain;
use crate::output::Sink;

/// Longest cell, in characters.
const CELL_CHARS: usize = 80;
/// Rows that are measured before the first is printed, at least.
const MEASURED_ROWS: usize = 1000;

/// A table that grows at its end.
pub(crate) struct Aligned {
    sink: Sink,
    /// Heads of the columns, and whether they go to the right.
    heads: Vec<(String, bool)>,
    widths: Vec<usize>,
    /// Rows not yet printed; `None` once the widths are settled.
    held: Option<Vec<Vec<String>>>,
    rows: u64,
}

impl Aligned {
    pub(crate) fn new(sink: Sink, schema: &SchemaRef) -> Aligned {
        let head = |it: &arrow_schema::FieldRef| (short(it.name()), it.data_type().is_numeric());
        let heads: Vec<(String, bool)> = schema.fields().iter().map(head).collect();
        let widths = heads.iter().map(|it| chars(&it.0)).collect();
        Aligned { sink, heads, widths, held: Some(Vec::new()), rows: 0 }
    }

    pub(crate) fn write(&mut self, batch: &RecordBatch) -> Result<(), ArrowError> {
        self.rows += batch.num_rows() as u64;
        let options = FormatOptions::default().with_null("NULL");
        let formatters = batch.columns().iter().map(|it| ArrayFormatter::try_new(it, &options));
        let formatters: Vec<_> = formatters.collect::<Result<_, _>>()?;
        for row in 0..batch.num_rows() {
            let cell = |it: &ArrayFormatter| Ok(short(&it.value(row).try_to_string()?));
            let cells = formatters.iter().map(cell).collect::<Result<_, ArrowError>>()?;
            match &mut self.held {
                Some(held) => held.push(cells),
                None => self.line(&cells)?,
            }
        }
        match &self.held {
            Some(held) if MEASURED_ROWS <= held.len() => self.settle(),
            _ => Ok(()),
        }
    }

    pub(crate) fn finish(&mut self) -> Result<(), ArrowError> {
        self.settle()?;
        let plural = if self.rows == 1 { "" } else { "s" };
        writeln!(self.sink, "({} row{plural})", self.rows)?;
        self.sink.flush()?;
        Ok(())
    }

    /// Prints what was held back.
    fn settle(&mut self) -> Result<(), ArrowError> {
        let Some(held) = self.held.take() else { return Ok(()) };
        for cells in &held {
            for (width, cell) in self.widths.iter_mut().zip(cells) {
                *width = chars(cell).max(*width);
            }
        }
        let heads: Vec<String> = self.heads.iter().map(|it| it.0.clone()).collect();
        let rule: Vec<String> = self.widths.iter().map(|it| "-".repeat(*it)).collect();
        self.line(&heads)?;
        self.line(&rule)?;
        held.iter().try_for_each(|it| self.line(it))
    }

    fn line(&mut self, cells: &[String]) -> Result<(), ArrowError> {
        let mut text = String::new();
        for ((cell, width), (_, right)) in cells.iter().zip(&self.widths).zip(&self.heads) {
            text += &if *right { format!("{cell:>width$}  ") } else { format!("{cell:<width$}  ") };
        }
        Ok(writeln!(self.sink, "{}", text.trim_end())?)
    }
}

fn chars(text: &str) -> usize {
    text.chars().count()
}

/// Without what a terminal would obey, and not longer than a person reads.
pub(crate) fn short(text: &str) -> String {
    let text = plain(text);
    match text.char_indices().nth(CELL_CHARS) {
        Some((at, _)) => format!("{}...", text.get(..at).unwrap_or_default()),
        None => text,
    }
}
