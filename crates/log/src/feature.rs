//! Table features: names, kinds, dependencies, which this build supports.
//!
//! A feature is a named change of the rules. The protocol action of a table lists the features that
//! a reader or a writer must know; older tables list none and imply a set by two version numbers.
//! Everything that the gate needs to know about a feature stands in one table here, one row per
//! feature, so that a new one is one row and not a hunt.
//!
//! Names are compared exactly. A name that differs in case only is unknown and therefore refused: a
//! reader that guessed would read a table whose rules it does not have.
//!
//! Some features were written under other names before they were settled. Such a name stays as it
//! is in the table's lists and is read as the feature that it became; see [`TableFeature::stable`].

use std::fmt;

/// A table feature by its exact name.
///
/// ```
/// use lakebed_log::feature::TableFeature;
///
/// assert_eq!(TableFeature::parse("deletionVectors"), TableFeature::DeletionVectors);
/// assert_eq!(TableFeature::parse("DeletionVectors").name(), "DeletionVectors");
/// assert_eq!(TableFeature::parse("DeletionVectors").kind(), None);
/// ```
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[allow(missing_docs, reason = "the names say it")]
pub enum TableFeature {
    AppendOnly,
    Invariants,
    CheckConstraints,
    ChangeDataFeed,
    GeneratedColumns,
    ColumnMapping,
    IdentityColumns,
    DeletionVectors,
    TimestampNtz,
    TimestampWithoutTimezone,
    V2Checkpoint,
    DomainMetadata,
    RowTracking,
    Clustering,
    Liquid,
    InCommitTimestamp,
    InCommitTimestampPreview,
    TypeWidening,
    TypeWideningPreview,
    VariantType,
    VariantTypePreview,
    VariantShredding,
    VariantShreddingPreview,
    VacuumProtocolCheck,
    CatalogManaged,
    CatalogOwned,
    CatalogOwnedPreview,
    IcebergCompatV1,
    IcebergCompatV2,
    AllowColumnDefaults,
    CheckpointProtection,
    MaterializePartitionColumns,
    Geospatial,
    GeospatialDev,
    TimestampNanos,
    AdaptiveMetadata,
    AdaptiveMetadataPreview,
    RedirectReaderWriterPreview,
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

/// What this build does with tables that use a feature.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Support {
    /// Nothing: it is refused by name.
    None,
    /// Such a table is read and not written.
    Read,
    /// Such a table is read and written.
    Write,
}

/// All that is known of one feature.
struct Row {
    feature: TableFeature,
    name: &'static str,
    kind: FeatureKind,
    /// Least reader and writer version that imply it, for the features older than the lists.
    legacy: Option<(i32, i32)>,
    support: Support,
    requires: &'static [TableFeature],
    /// The feature that this name was settled as.
    means: Option<TableFeature>,
}

const fn row(
    feature: TableFeature,
    name: &'static str,
    kind: FeatureKind,
    legacy: Option<(i32, i32)>,
    support: Support,
    requires: &'static [TableFeature],
) -> Row {
    Row { feature, name, kind, legacy, support, requires, means: None }
}

/// A name from before a feature was settled: read as that feature, and not written, because what
/// else was spelled differently then is not known to every writer.
const fn older(
    feature: TableFeature,
    name: &'static str,
    kind: FeatureKind,
    means: TableFeature,
) -> Row {
    let (legacy, support, requires) = (None, Support::None, &[]);
    Row { feature, name, kind, legacy, support, requires, means: Some(means) }
}

use FeatureKind::{ReaderWriter, Writer};
use TableFeature as F;

/// Every feature with a name of our own.
#[rustfmt::skip]
static ROWS: &[Row] = &[
    row(F::AppendOnly, "appendOnly", Writer, Some((1, 2)), Support::Write, &[]),
    row(F::Invariants, "invariants", Writer, Some((1, 2)), Support::Read, &[]),
    row(F::CheckConstraints, "checkConstraints", Writer, Some((1, 3)), Support::Read, &[]),
    row(F::ChangeDataFeed, "changeDataFeed", Writer, Some((1, 4)), Support::Write, &[]),
    row(F::GeneratedColumns, "generatedColumns", Writer, Some((1, 4)), Support::Read, &[]),
    row(F::ColumnMapping, "columnMapping", ReaderWriter, Some((2, 5)), Support::Read, &[]),
    row(F::IdentityColumns, "identityColumns", Writer, Some((1, 6)), Support::Read, &[]),
    row(F::DeletionVectors, "deletionVectors", ReaderWriter, None, Support::Write, &[]),
    row(F::TimestampNtz, "timestampNtz", ReaderWriter, None, Support::Write, &[]),
    older(F::TimestampWithoutTimezone, "timestampWithoutTimezone", ReaderWriter, F::TimestampNtz),
    row(F::V2Checkpoint, "v2Checkpoint", ReaderWriter, None, Support::Write, &[]),
    row(F::DomainMetadata, "domainMetadata", Writer, None, Support::Write, &[]),
    row(F::RowTracking, "rowTracking", Writer, None, Support::Read, &[F::DomainMetadata]),
    row(F::Clustering, "clustering", Writer, None, Support::Read, &[F::DomainMetadata]),
    older(F::Liquid, "liquid", Writer, F::Clustering),
    row(F::InCommitTimestamp, "inCommitTimestamp", Writer, None, Support::Write, &[]),
    older(F::InCommitTimestampPreview, "inCommitTimestamp-preview", Writer, F::InCommitTimestamp),
    row(F::TypeWidening, "typeWidening", ReaderWriter, None, Support::Read, &[]),
    older(F::TypeWideningPreview, "typeWidening-preview", ReaderWriter, F::TypeWidening),
    row(F::VariantType, "variantType", ReaderWriter, None, Support::Read, &[]),
    older(F::VariantTypePreview, "variantType-preview", ReaderWriter, F::VariantType),
    row(F::VariantShredding, "variantShredding", ReaderWriter, None, Support::Read,
        &[F::VariantType]),
    older(F::VariantShreddingPreview, "variantShredding-preview", ReaderWriter,
        F::VariantShredding),
    row(F::VacuumProtocolCheck, "vacuumProtocolCheck", ReaderWriter, None, Support::Write, &[]),
    row(F::CatalogManaged, "catalogManaged", ReaderWriter, None, Support::None,
        &[F::InCommitTimestamp]),
    older(F::CatalogOwned, "catalogOwned", ReaderWriter, F::CatalogManaged),
    older(F::CatalogOwnedPreview, "catalogOwned-preview", ReaderWriter, F::CatalogManaged),
    row(F::IcebergCompatV1, "icebergCompatV1", Writer, None, Support::Read, &[F::ColumnMapping]),
    row(F::IcebergCompatV2, "icebergCompatV2", Writer, None, Support::Read, &[F::ColumnMapping]),
    row(F::AllowColumnDefaults, "allowColumnDefaults", Writer, None, Support::Read, &[]),
    row(F::CheckpointProtection, "checkpointProtection", Writer, None, Support::Read, &[]),
    row(F::MaterializePartitionColumns, "materializePartitionColumns", Writer, None, Support::Read,
        &[]),
    row(F::Geospatial, "geospatial", ReaderWriter, None, Support::None, &[]),
    older(F::GeospatialDev, "geospatial-dev", ReaderWriter, F::Geospatial),
    row(F::TimestampNanos, "timestampNanos", ReaderWriter, None, Support::None,
        &[F::TimestampNtz]),
    row(F::AdaptiveMetadata, "adaptiveMetadata", ReaderWriter, None, Support::None, &[]),
    older(F::AdaptiveMetadataPreview, "adaptiveMetadata-preview", ReaderWriter,
        F::AdaptiveMetadata),
    row(F::RedirectReaderWriterPreview, "redirectReaderWriter-preview", ReaderWriter, None,
        Support::None, &[]),
];

impl TableFeature {
    /// By its exact, case-sensitive name.
    pub fn parse(name: &str) -> TableFeature {
        match ROWS.iter().find(|it| it.name == name) {
            Some(row) => row.feature.clone(),
            None => TableFeature::Unknown(name.to_string()),
        }
    }

    /// The protocol's name.
    pub fn name(&self) -> &str {
        match self {
            TableFeature::Unknown(name) => name,
            known => known.row().map_or("", |it| it.name),
        }
    }

    /// The feature that this one was settled as, if its name is from before that; else itself.
    ///
    /// ```
    /// use lakebed_log::feature::TableFeature;
    ///
    /// let early = TableFeature::parse("typeWidening-preview");
    /// assert_eq!(early.stable(), &TableFeature::TypeWidening);
    /// assert_eq!(early.name(), "typeWidening-preview");
    /// ```
    pub fn stable(&self) -> &TableFeature {
        self.row().and_then(|it| it.means.as_ref()).unwrap_or(self)
    }

    /// Does a name that nobody knows differ in case only from that of a feature for readers?
    pub(crate) fn is_misspelled_for_readers(&self) -> bool {
        let TableFeature::Unknown(name) = self else { return false };
        let mut for_readers = ROWS.iter().filter(|it| it.kind == FeatureKind::ReaderWriter);
        for_readers.any(|it| it.name.eq_ignore_ascii_case(name))
    }

    /// `None` for an unknown one.
    pub fn kind(&self) -> Option<FeatureKind> {
        self.row().map(|it| it.kind)
    }

    /// The least reader and writer version that imply it; `None` for the features that must be
    /// listed by name.
    ///
    /// ```
    /// use lakebed_log::feature::TableFeature;
    ///
    /// assert_eq!(TableFeature::ColumnMapping.legacy(), Some((2, 5)));
    /// assert_eq!(TableFeature::DeletionVectors.legacy(), None);
    /// ```
    pub fn legacy(&self) -> Option<(i32, i32)> {
        self.row().and_then(|it| it.legacy)
    }

    /// The features that must be listed wherever this one is.
    pub fn requires(&self) -> &'static [TableFeature] {
        self.row().map_or(&[], |it| it.requires)
    }

    /// Does this build read tables that use it? An unknown one that only writers need to know is no
    /// hindrance; the gate, `support`, tells by the list it stands in.
    pub fn can_read(&self) -> bool {
        self.stable().row().is_some_and(|it| it.support != Support::None)
    }

    /// Does this build write tables that use it? A table may list a feature without using it; then
    /// the gate may still agree. Names from before a feature was settled are read only.
    pub fn can_write(&self) -> bool {
        self.row().is_some_and(|it| it.support == Support::Write)
    }

    /// Is it that a catalog manages the commits, under one of the names this had? Such a table is
    /// read through its catalog only, which the gate, `support`, sees to.
    pub fn is_catalog_managed(&self) -> bool {
        matches!(self, F::CatalogManaged | F::CatalogOwned | F::CatalogOwnedPreview)
    }

    /// Every feature that this build knows by name.
    pub fn known() -> impl Iterator<Item = TableFeature> {
        ROWS.iter().map(|it| it.feature.clone())
    }

    fn row(&self) -> Option<&'static Row> {
        ROWS.iter().find(|it| it.feature == *self)
    }
}

impl fmt::Display for TableFeature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// spec: FEAT-1, FEAT-2
    #[test]
    fn names_are_exact_and_unique() {
        for feature in TableFeature::known() {
            assert_eq!(TableFeature::parse(feature.name()), feature);
            assert_eq!(feature.to_string(), feature.name());
            let other_case = feature.name().to_uppercase();
            assert_eq!(TableFeature::parse(&other_case), TableFeature::Unknown(other_case));
        }
        let names: std::collections::BTreeSet<_> = ROWS.iter().map(|it| it.name).collect();
        assert_eq!(names.len(), ROWS.len());
    }

    /// spec: FEAT-1
    #[test]
    fn an_unknown_name_is_kept_and_supported_by_nobody() {
        let feature = TableFeature::parse("telepathy");
        assert_eq!(feature.name(), "telepathy");
        assert_eq!(feature.kind(), None);
        assert!(!feature.can_read() && !feature.can_write());
    }

    /// spec: FEAT-2, FEAT-12
    #[test]
    fn older_names_are_read_as_what_they_became() {
        let rows = [
            ("inCommitTimestamp-preview", F::InCommitTimestamp),
            ("typeWidening-preview", F::TypeWidening),
            ("variantType-preview", F::VariantType),
            ("variantShredding-preview", F::VariantShredding),
            ("catalogOwned-preview", F::CatalogManaged),
            ("catalogOwned", F::CatalogManaged),
            ("timestampWithoutTimezone", F::TimestampNtz),
            ("liquid", F::Clustering),
            ("geospatial-dev", F::Geospatial),
            ("adaptiveMetadata-preview", F::AdaptiveMetadata),
        ];
        for (name, stable) in &rows {
            let feature = F::parse(name);
            assert_eq!((feature.stable(), feature.name()), (stable, *name));
            assert_eq!(feature.kind(), stable.kind(), "{name}");
            assert_eq!(feature.can_read(), stable.can_read(), "{name}");
            assert!(!feature.can_write(), "{name}");
        }
        let older = ROWS.iter().filter(|it| it.means.is_some()).count();
        assert_eq!(older, rows.len());
        assert_eq!(F::parse("telepathy").stable(), &F::parse("telepathy"));
    }

    /// spec: FEAT-13
    #[test]
    fn a_name_for_readers_in_another_case_is_noticed() {
        assert!(F::parse("DELETIONVectors").is_misspelled_for_readers());
        assert!(!F::DeletionVectors.is_misspelled_for_readers());
        assert!(!F::parse("APPENDOnly").is_misspelled_for_readers());
        assert!(!F::parse("telepathy").is_misspelled_for_readers());
    }

    /// spec: FEAT-3
    #[test]
    fn every_required_feature_has_a_row_and_writers_read() {
        for row in ROWS {
            assert!(row.requires.iter().all(|it| it.row().is_some()), "{}", row.name);
            if row.feature.can_write() {
                assert!(row.feature.can_read(), "{}", row.name);
            }
            if row.kind == FeatureKind::Writer {
                assert!(row.feature.can_read(), "{} is for writers only", row.name);
            }
        }
    }
}
