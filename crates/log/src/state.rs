//! `Head` and `TableState`: all of a version, without I/O.
//!
//! The head is the small part: what everybody who opens a table needs, and nearly nobody is
//! helped by having in columns. The files are the large part, see [`crate::files`].

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::action::{CommitInfo, DomainMetadata, Metadata, Protocol, SetTransaction};
use crate::batch::LogBatch;
use crate::error::{Error, Result};
use crate::files::FileList;
use crate::property::Properties;
use crate::schema::{ColumnMapping, Schema};
use crate::support::{self, Access, Admission, ReadPermit, WritePermit};
use crate::version::Version;

/// The small part of a version: everything but the files.
///
/// There is none without a [`ReadPermit`]: whoever holds a head may read the table.
#[derive(Clone, Debug)]
pub struct Head {
    /// Which version.
    pub version: Version,
    /// Checked.
    pub protocol: Protocol,
    /// Proof that this build may read the table.
    pub read: ReadPermit,
    /// As stored.
    pub metadata: Metadata,
    /// Parsed from the metadata. Present once the protocol allowed to read.
    pub schema: Arc<Schema>,
    /// How data files name the columns.
    pub mapping: ColumnMapping,
    /// Typed view of the configuration.
    pub properties: Properties,
    /// Newest per application.
    pub txns: BTreeMap<String, SetTransaction>,
    /// Newest per domain, removed ones left out.
    pub domains: BTreeMap<String, DomainMetadata>,
    /// That of the version's own commit, if it was read.
    pub commit_info: Option<CommitInfo>,
}

/// All of a version.
#[derive(Clone, Debug)]
pub struct TableState {
    /// The small part.
    pub head: Head,
    /// The live files.
    pub files: FileList,
}

impl Head {
    /// Checks the protocol, then read support, then schema and metadata.
    ///
    /// In this order: of a table that needs what this build lacks, nothing but the protocol can be
    /// trusted to make sense.
    ///
    /// # Errors
    ///
    /// `invalid-protocol`, `unsupported-protocol`, `invalid-schema`, `invalid-metadata`.
    pub fn new(version: Version, protocol: Protocol, metadata: Metadata) -> Result<Head> {
        Head::by(version, protocol, metadata, Access::Path)
    }

    /// The same for a table that is come by in some way.
    ///
    /// # Errors
    ///
    /// As [`Head::new`].
    pub fn by(
        version: Version,
        protocol: Protocol,
        metadata: Metadata,
        access: Access,
    ) -> Result<Head> {
        let admitted = support::admit(&protocol, &metadata, access);
        let Admission { read, schema, mapping } = admitted.map_err(|it| it.of_version(version))?;
        let schema = Arc::new(schema);
        let properties = Properties::read(&metadata.configuration);
        Ok(Head {
            version,
            protocol,
            read,
            metadata,
            schema,
            mapping,
            properties,
            txns: BTreeMap::new(),
            domains: BTreeMap::new(),
            commit_info: None,
        })
    }

    /// The head after one more commit. The schema is shared unless the commit changes it.
    ///
    /// # Errors
    ///
    /// Those of [`Head::new`] if the commit changes protocol or metadata; `internal` if `version`
    /// does not follow ours.
    pub fn advance(&self, version: Version, commit: &LogBatch) -> Result<Head> {
        if self.version.next() != Some(version) {
            let what = format!("version {version} does not follow version {}", self.version);
            return Err(Error::internal(what));
        }
        let mut next = if commit.protocol.is_some() || commit.metadata.is_some() {
            let protocol = commit.protocol.as_ref().unwrap_or(&self.protocol);
            let metadata = commit.metadata.as_ref().unwrap_or(&self.metadata);
            let access = self.read.access();
            let mut next = Head::by(version, protocol.clone(), metadata.clone(), access)?;
            if next.schema == self.schema {
                next.schema = Arc::clone(&self.schema);
            }
            Head { txns: self.txns.clone(), domains: self.domains.clone(), ..next }
        } else {
            // All but the commit's own words, which a copy would copy for nothing.
            Head {
                version,
                protocol: self.protocol.clone(),
                read: self.read,
                metadata: self.metadata.clone(),
                schema: Arc::clone(&self.schema),
                mapping: self.mapping,
                properties: self.properties.clone(),
                txns: self.txns.clone(),
                domains: self.domains.clone(),
                commit_info: None,
            }
        };
        for txn in &commit.txns {
            next.txns.insert(txn.app_id.clone(), txn.clone());
        }
        for domain in &commit.domains {
            if domain.removed {
                next.domains.remove(&domain.domain);
            } else {
                next.domains.insert(domain.domain.clone(), domain.clone());
            }
        }
        next.commit_info.clone_from(&commit.commit_info);
        Ok(next)
    }

    /// May this build write the table, too?
    ///
    /// # Errors
    ///
    /// Those of [`support::writable`].
    pub fn writable(&self) -> Result<WritePermit> {
        let Head { protocol, metadata, schema, .. } = self;
        match self.read.access() {
            // What a reader must know was looked at when the head was made.
            Access::Path => support::also_writable(protocol, metadata, schema),
            Access::Catalog => support::writable(protocol, metadata, schema),
        }
    }

    /// Identity of the last commit, for `prevTxnId`.
    pub fn txn_id(&self) -> Option<&str> {
        self.commit_info.as_ref().and_then(CommitInfo::txn_id)
    }
}

impl TableState {
    /// The state after one more commit; older chunks are shared.
    ///
    /// # Errors
    ///
    /// Those of [`Head::advance`] and [`FileList::advance`].
    pub fn advance(&self, version: Version, commit: &LogBatch) -> Result<TableState> {
        let head = self.head.advance(version, commit)?;
        let files = self.files.advance(commit.adds.as_ref(), commit.removes.as_ref())?;
        Ok(TableState { head, files })
    }
}

#[cfg(test)]
mod tests;
