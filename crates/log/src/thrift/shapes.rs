//! What the Parquet library reads of the structures of the format, by the numbers of their fields.
//!
//! No more than it reads: a field that it steps over has to be stepped over as it does that. What a
//! later release of it reads besides is entered here.

/// What a field is.
#[derive(Clone, Copy, Debug)]
pub(super) enum Kind {
    /// Not known: what it says it is.
    Any,
    Bool,
    Byte,
    /// Of 16 to 64 bits, as one writes them all.
    Int,
    Double,
    Binary,
    List(&'static Kind),
    /// A structure, or a union, by number of field.
    Struct(&'static [Kind]),
}

use Kind::{Any, Binary, Bool, Byte, Double, Int, List, Struct};

/// The schema and the row groups are walked by themselves.
pub(super) const FILE: &[Kind] =
    &[Any, Int, Any, Int, Any, List(&Struct(KEY_VALUE)), Binary, List(&Struct(COLUMN_ORDER))];

pub(super) const SCHEMA_ELEMENT: &[Kind] =
    &[Any, Int, Int, Int, Binary, Int, Int, Int, Int, Int, Struct(LOGICAL_TYPE)];

pub(super) const ROW_GROUP: &[Kind] = &[
    Any,
    List(&Struct(COLUMN_CHUNK)),
    Int,
    Int,
    List(&Struct(&[Any, Int, Bool, Bool])),
    Int,
    Any,
    Int,
];

pub(super) const OFFSET_INDEX: &[Kind] = &[Any, List(&Struct(&[Any, Int, Int, Int])), List(&Int)];

pub(super) const COLUMN_INDEX: &[Kind] =
    &[Any, List(&Bool), List(&Binary), List(&Binary), Int, List(&Int), List(&Int), List(&Int)];

/// Statistics of the pages are stepped over.
pub(super) const PAGE_HEADER: &[Kind] = &[
    Any,
    Int,
    Int,
    Int,
    Int,
    Struct(&[Any, Int, Int, Int, Int]),
    Struct(&[]),
    Struct(&[Any, Int, Int, Bool]),
    Struct(&[Any, Int, Int, Int, Int, Int, Int, Bool]),
];

const KEY_VALUE: &[Kind] = &[Any, Binary, Binary];

const COLUMN_ORDER: &[Kind] = &[Any, Struct(&[])];

const LOGICAL_TYPE: &[Kind] = &[
    Any,
    Struct(&[]),
    Struct(&[]),
    Struct(&[]),
    Struct(&[]),
    Struct(&[Any, Int, Int]),
    Struct(&[]),
    Struct(TIME),
    Struct(TIME),
    Any,
    Struct(&[Any, Byte, Bool]),
    Struct(&[]),
    Struct(&[]),
    Struct(&[]),
    Struct(&[]),
    Struct(&[]),
    Struct(&[Any, Byte]),
    Struct(&[Any, Binary]),
    Struct(&[Any, Binary, Int]),
];

const TIME: &[Kind] = &[Any, Bool, Struct(&[Any, Struct(&[]), Struct(&[]), Struct(&[])])];

const COLUMN_CHUNK: &[Kind] = &[Any, Binary, Int, Struct(COLUMN), Int, Int, Int, Int];

const COLUMN: &[Kind] = &[
    Any,
    Int,
    List(&Int),
    Any,
    Int,
    Int,
    Int,
    Int,
    Any,
    Int,
    Int,
    Int,
    Struct(&[Any, Binary, Binary, Int, Int, Binary, Binary, Bool, Bool]),
    List(&Struct(&[Any, Int, Int, Int])),
    Int,
    Int,
    Struct(&[Any, Int, List(&Int), List(&Int)]),
    Struct(&[Any, Struct(BOX), List(&Int)]),
];

const BOX: &[Kind] = &[Any, Double, Double, Double, Double, Double, Double, Double, Double];
