//! May this build read or write this table? Gives a permit or says which feature is missing.

use crate::action::{Metadata, Protocol};
use crate::error::{Error, Result};
use crate::feature::TableFeature;
use crate::schema::Schema;

/// Proof that `readable` agreed.
#[derive(Clone, Copy, Debug)]
pub struct ReadPermit(());

/// Proof that `writable` agreed.
#[derive(Clone, Copy, Debug)]
pub struct WritePermit(());

/// May this build read? `unsupported-protocol` names the feature; see [`Error::missing_feature`].
pub fn readable(_protocol: &Protocol, _metadata: &Metadata) -> Result<ReadPermit> { todo!() }

/// May this build write? At a legacy level only what the table really uses counts.
pub fn writable(_protocol: &Protocol, _metadata: &Metadata, _schema: &Schema) -> Result<WritePermit> { todo!() }

/// The feature that a table needs and this build lacks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MissingFeature {
    /// Which.
    pub feature: TableFeature,
    /// Needed to read, or only to write?
    pub to_read: bool,
}

impl Error {
    /// Which feature is missing, for `unsupported-protocol`.
    pub fn missing_feature(&self) -> Option<&MissingFeature> { self.payload() }
}
