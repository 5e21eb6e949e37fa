//! Table features: names, kinds, dependencies, which this build supports.

use std::fmt;

/// A table feature by its exact name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[allow(missing_docs, reason = "the names say it")]
pub enum TableFeature {
    AppendOnly, Invariants, CheckConstraints, ChangeDataFeed, GeneratedColumns, ColumnMapping, IdentityColumns,
    DeletionVectors, TimestampNtz, V2Checkpoint, DomainMetadata, RowTracking, Clustering, InCommitTimestamp,
    TypeWidening, TypeWideningPreview, VariantType, VariantTypePreview, VariantShredding, VariantShreddingPreview,
    VacuumProtocolCheck, CatalogManaged, IcebergCompatV1, IcebergCompatV2, AllowColumnDefaults,
    CheckpointProtection, MaterializePartitionColumns,
    /// Anything else, kept by name.
    Unknown(String),
}

/// Who must know a feature.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FeatureKind {
    /// Readers and writers.
    ReaderWriter,
    /// Writers only.
    Writer,
}

impl TableFeature {
    /// By its exact, case-sensitive name.
    pub fn parse(_name: &str) -> TableFeature { todo!() }
    /// The protocol's name.
    pub fn name(&self) -> &str { todo!() }
    /// `None` for an unknown one.
    pub fn kind(&self) -> Option<FeatureKind> { todo!() }
    /// May this build read a table that lists it?
    pub fn can_read(&self) -> bool { todo!() }
    /// May this build write a table that lists it?
    pub fn can_write(&self) -> bool { todo!() }
}

impl fmt::Display for TableFeature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result { f.write_str(self.name()) }
}
