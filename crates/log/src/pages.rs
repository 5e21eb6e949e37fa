//! Pages with checksums.
//!
//! The Parquet library checks the checksum of a page when it has one and writes none. One flipped
//! bit in a page without one is a wrong value that nobody notices. The library hands each page to a
//! store before it is placed in the file, header and data apart; this store keeps them, puts the
//! checksum into the header, and lays the column chunk out anew:
//!
//! ```text
//!   15 kind  15 size  15 size            2c data page header ..     as the library writes it
//!   15 kind  15 size  15 size  15 crc32  1c data page header ..     as it goes into the file
//! ```
//!
//! The field that follows counts its id from the one before it, so that byte changes too.
//!
//! A file is written like this: the writers of a row group come from a factory that has a [`Shelf`]
//! for its pages, their columns become a [`Chunk`] each, which is placed in the [`Pieces`] that the
//! library writes to.
//!
//! The library places a chunk by copying it through a small buffer into what it writes to. That is
//! a pass over all bytes by one thread, for nothing: so it copies zeros of the same length, which
//! are thrown away, and the pages go to the store as they are, see [`Pieces`].

use std::io::{self, Read};
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use parquet::arrow::arrow_writer::ArrowColumnChunk;
use parquet::basic::{Encoding, PageType};
use parquet::column::page_store::{PageKey, PageStore, PageStoreArgs, PageStoreFactory};
use parquet::column::writer::ColumnCloseResult;
use parquet::errors::ParquetError;
use parquet::file::metadata::OffsetIndexBuilder;
use parquet::file::reader::{ChunkReader, Length};
use parquet::file::statistics::Statistics;
use parquet::file::writer::SerializedFileWriter;

use crate::crc::crc32;
use crate::error::{Error, Result};
use crate::thrift::{self, PageHeader};

/// Kind of a dictionary page.
const DICTIONARY: i64 = 2;

/// A dictionary that served less than one page in so many was in vain.
const GIVEN_UP_SHARE: i64 = 4;
/// Pages of at least so many bytes go to the store as they are; smaller ones are put together.
const LARGE_BYTES: usize = 16 << 10;
/// Put together to pieces of about this size.
const PIECE_BYTES: usize = 4 << 20;

/// Blobs of one column chunk: header, data, header, data, in the order in which they were made.
pub type Blobs = Arc<Mutex<Vec<Bytes>>>;

/// Hands each column writer a store and keeps a hold of what is in it.
#[derive(Debug, Default)]
pub struct Shelf(Mutex<Vec<Blobs>>);

impl Shelf {
    /// The stores made since the last call, in the order of the leaf columns.
    pub fn take(&self) -> Vec<Blobs> {
        std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl PageStoreFactory for Shelf {
    fn create(&self, _args: &PageStoreArgs<'_>) -> Result<Box<dyn PageStore>, ParquetError> {
        let blobs = Blobs::default();
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(Arc::clone(&blobs));
        Ok(Box::new(Kept { blobs, bytes: 0 }))
    }
}

struct Kept {
    blobs: Blobs,
    bytes: usize,
}

impl PageStore for Kept {
    fn put(&mut self, value: Bytes) -> Result<PageKey, ParquetError> {
        let mut blobs = self.blobs.lock().unwrap_or_else(PoisonError::into_inner);
        let key = PageKey::new(blobs.len() as u64);
        self.bytes += value.len();
        blobs.push(value);
        Ok(key)
    }

    fn take(&mut self, _key: PageKey) -> Result<Bytes, ParquetError> {
        Err(ParquetError::General("pages are laid out by their owner".to_string()))
    }

    fn memory_size(&self) -> usize {
        self.bytes
    }
}

/// A column chunk ready to be placed: its bytes in file order, and what the footer says of them.
pub struct Chunk {
    bytes: Vec<Bytes>,
    len: u64,
    close: ColumnCloseResult,
}

impl Chunk {
    /// Puts checksums into the pages of a closed column and lays them out, dictionary first.
    ///
    /// # Errors
    ///
    /// `internal` if the library has changed how it hands out pages.
    pub fn new(closed: &ArrowColumnChunk, blobs: &Blobs) -> Result<Chunk> {
        let blobs = std::mem::take(&mut *blobs.lock().unwrap_or_else(PoisonError::into_inner));
        let mut close = closed.close().clone();
        let (mut dictionary, mut data) = (Vec::new(), Vec::new());
        let (mut added, mut sizes) = (0usize, Vec::new());
        for page in blobs.chunks(2) {
            let [header, body] = page else {
                return Err(Error::internal("a page came without its data"));
            };
            let parsed = thrift::page_header(header)?;
            let sealed = seal(header, &parsed, body)?;
            added += sealed.len() - header.len();
            let target = if parsed.kind == DICTIONARY {
                &mut dictionary
            } else {
                sizes.push(sealed.len() + body.len());
                &mut data
            };
            target.push(sealed);
            target.push(body.clone());
        }
        let dictionary_len: usize = dictionary.iter().map(Bytes::len).sum();
        let data_len: usize = data.iter().map(Bytes::len).sum();
        dictionary.append(&mut data);

        let grown = signed(added)?;
        let before = close.metadata.uncompressed_size();
        close.bytes_written = (dictionary_len + data_len) as u64;
        close.metadata = close
            .metadata
            .into_builder()
            .set_dictionary_page_offset((0 < dictionary_len).then_some(0))
            .set_data_page_offset(signed(dictionary_len)?)
            .set_total_compressed_size(signed(dictionary_len + data_len)?)
            .set_total_uncompressed_size(before + grown)
            .build()
            .map_err(internal)?;
        if let Some(index) = close.offset_index.take() {
            let mut builder = OffsetIndexBuilder::new();
            let mut offset = signed(dictionary_len)?;
            let plain = index.unencoded_byte_array_data_bytes();
            let rows = index.page_locations().iter().map(|it| it.first_row_index);
            let counts = rows.clone().skip(1).zip(rows).map(|(next, this)| next - this);
            for (at, (count, size)) in counts.chain([0]).zip(&sizes).enumerate() {
                builder.append_row_count(count);
                let size = i32::try_from(*size).map_err(|_| Error::internal("page too large"))?;
                builder.append_offset_and_size(offset, size);
                builder.append_unencoded_byte_array_data_bytes(
                    plain.and_then(|it| it.get(at)).copied(),
                );
                offset += i64::from(size);
            }
            close.offset_index = Some(builder.build());
        }
        Ok(Chunk { bytes: dictionary, len: close.bytes_written, close })
    }

    /// Takes the least and the greatest value out of the footer and the page index: the library
    /// passes over NaN, which is greater than all else, so a reader that believes them loses rows.
    ///
    /// # Errors
    ///
    /// `internal` if the library does not take what is left.
    pub fn without_bounds(mut self) -> Result<Chunk> {
        let statistics = match self.close.metadata.statistics() {
            Some(Statistics::Float(it)) => {
                Some(Statistics::float(None, None, None, it.null_count_opt(), false))
            }
            Some(Statistics::Double(it)) => {
                Some(Statistics::double(None, None, None, it.null_count_opt(), false))
            }
            _ => None,
        };
        let builder = self.close.metadata.into_builder().clear_statistics();
        let builder = match statistics {
            Some(it) => builder.set_statistics(it),
            None => builder,
        };
        self.close.metadata = builder.build().map_err(internal)?;
        self.close.column_index = None;
        Ok(self)
    }

    /// Has the footer say something else of the values.
    ///
    /// # Errors
    ///
    /// Those of `change`.
    pub fn told(
        self,
        change: impl FnOnce(ColumnCloseResult) -> Result<ColumnCloseResult>,
    ) -> Result<Chunk> {
        Ok(Chunk { close: change(self.close)?, ..self })
    }

    /// Was the dictionary given up soon? Then building it was nearly all in vain.
    pub fn gave_up_dictionary(&self) -> bool {
        let stats = self.close.metadata.page_encoding_stats();
        let data =
            stats.into_iter().flatten().filter(|it| it.page_type != PageType::DICTIONARY_PAGE);
        let (mut coded, mut all) = (0, 0);
        for pages in data {
            let is_coded =
                matches!(pages.encoding, Encoding::RLE_DICTIONARY | Encoding::PLAIN_DICTIONARY);
            coded += if is_coded { i64::from(pages.count) } else { 0 };
            all += i64::from(pages.count);
        }
        0 < coded && coded * GIVEN_UP_SHARE < all
    }

    /// What the footer says.
    pub fn close(&self) -> &ColumnCloseResult {
        &self.close
    }
}

/// The header with the checksum of the page in it.
fn seal(header: &Bytes, parsed: &PageHeader, body: &Bytes) -> Result<Bytes> {
    if parsed.checksum {
        return Ok(header.clone());
    }
    let (Some(prefix), Some([next, rest @ ..])) =
        (header.get(..parsed.prefix), header.get(parsed.prefix..))
    else {
        return Err(Error::internal("a page header ends with its sizes"));
    };
    let mut out = Vec::with_capacity(header.len() + 6);
    out.extend_from_slice(prefix);
    out.push(0x15);
    thrift::put_varint(crc32(body).cast_signed(), &mut out);
    out.push(next.wrapping_sub(0x10));
    out.extend_from_slice(rest);
    Ok(out.into())
}

fn signed(len: usize) -> Result<i64> {
    i64::try_from(len).map_err(|_| Error::internal("column chunk is too large"))
}

fn internal(err: ParquetError) -> Error {
    Error::internal("the column chunk's metadata does not build").because(err)
}

impl Length for Chunk {
    fn len(&self) -> u64 {
        self.len
    }
}

/// Only read from its start: the library copies it whole, or rather what stands in for it.
impl ChunkReader for Chunk {
    type T = io::Take<io::Repeat>;

    fn get_read(&self, start: u64) -> Result<Self::T, ParquetError> {
        if start != 0 {
            return Err(ParquetError::General("a chunk is copied whole".to_string()));
        }
        Ok(io::repeat(0).take(self.len))
    }

    fn get_bytes(&self, _start: u64, _length: usize) -> Result<Bytes, ParquetError> {
        Err(ParquetError::General("a chunk is copied whole".to_string()))
    }
}

/// Where the Parquet library writes: memory, in pieces.
#[derive(Default)]
pub struct Pieces {
    done: Vec<Bytes>,
    open: Vec<u8>,
    /// So many bytes that the library is about to write stand here already.
    ahead: u64,
}

impl Pieces {
    /// Puts the pages of a row group where the library is about to write them, and has it do so.
    ///
    /// # Errors
    ///
    /// `internal` if the library does not take the columns.
    pub fn place_group(file: &mut SerializedFileWriter<Pieces>, chunks: &[Chunk]) -> Result<()> {
        let internal = |it: ParquetError| Error::internal("a row group does not fit").because(it);
        file.flush().map_err(|it| internal(it.into()))?;
        chunks.iter().for_each(|it| file.inner_mut().place(it));
        let mut group = file.next_row_group().map_err(internal)?;
        for chunk in chunks {
            group.append_column(chunk, chunk.close().clone()).map_err(internal)?;
        }
        group.close().map_err(internal)?;
        Ok(())
    }

    /// What is written so far and was not taken yet.
    ///
    /// # Errors
    ///
    /// `internal` if the library has not written what was placed.
    pub fn taken(file: &mut SerializedFileWriter<Pieces>) -> Result<Vec<Bytes>> {
        let internal = |it| Error::internal("what is written does not flush").because(it);
        file.flush().map_err(internal)?;
        file.inner_mut().take()
    }

    /// Puts the pages of a chunk where the next bytes will be written, in place of those. The
    /// library must have no bytes left that come before.
    fn place(&mut self, chunk: &Chunk) {
        for bytes in &chunk.bytes {
            if LARGE_BYTES <= bytes.len() {
                self.cut();
                self.done.push(bytes.clone());
            } else {
                self.append(bytes);
            }
        }
        self.ahead += chunk.len;
    }

    fn take(&mut self) -> Result<Vec<Bytes>> {
        if self.ahead != 0 {
            return Err(Error::internal("a row group has fewer bytes than its pages"));
        }
        self.cut();
        Ok(std::mem::take(&mut self.done))
    }

    fn append(&mut self, bytes: &[u8]) {
        self.open.extend_from_slice(bytes);
        if PIECE_BYTES <= self.open.len() {
            self.cut();
        }
    }

    fn cut(&mut self) {
        if !self.open.is_empty() {
            self.done.push(std::mem::take(&mut self.open).into());
        }
    }
}

impl io::Write for Pieces {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let past = usize::try_from(self.ahead).unwrap_or(usize::MAX).min(bytes.len());
        self.ahead -= past as u64;
        self.append(bytes.get(past..).unwrap_or_default());
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
