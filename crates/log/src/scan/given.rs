//! Plans of tasks that were planned before, elsewhere.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::{BATCH_ROWS, RowTracking, Scan, ScanPlan, ScanTask, bound_filter, metadata, project};
use crate::action::Add;
use crate::error::{Code, Error, Result};
use crate::schema::DataType;
use crate::state::Head;
use crate::uri;
use crate::value::Value;

impl ScanTask {
    /// The task as an action, with the partition columns by the names that the table has for them,
    /// so that it can be written down. Of the statistics only the number of rows is kept.
    pub fn to_add(&self) -> Add {
        let text = |it: &Option<Value>| it.as_ref().map(Value::to_partition);
        Add {
            path: self.path.clone(),
            partition_values: self.partition.iter().map(|(k, v)| (k.clone(), text(v))).collect(),
            size: i64::try_from(self.size).unwrap_or(i64::MAX),
            data_change: true,
            stats: self.num_records.map(|it| format!("{{\"numRecords\":{it}}}")),
            deletion_vector: self.deletion_vector.clone(),
            base_row_id: self.base_row_id,
            default_row_commit_version: self.default_row_commit_version,
            ..Add::default()
        }
    }

    /// The task that [`ScanTask::to_add`] wrote down.
    ///
    /// # Errors
    ///
    /// `invalid-partition-value`, `invalid-path`, `path-escape`, `unsupported-path`, as a plan of
    /// the table has them.
    pub fn from_add(head: &Head, add: &Add) -> Result<ScanTask> {
        let mut partition = BTreeMap::new();
        for name in &head.metadata.partition_columns {
            let Some(DataType::Primitive(of)) = head.schema.field(name).map(|it| &it.data_type)
            else {
                continue;
            };
            let Some(text) = add.partition_values.get(name) else {
                let what = format!("a file has no value of partition column `{name}`");
                return Err(Error::new(Code::InvalidPartitionValue, what));
            };
            let value = match text {
                Some(text) => Value::from_partition(text, *of)?,
                None => None,
            };
            partition.insert(name.clone(), value);
        }
        let stats = add.stats.as_deref().and_then(|it| serde_json::from_str(it).ok());
        let rows = stats.and_then(|it: serde_json::Value| it.get("numRecords")?.as_u64());
        Ok(ScanTask {
            key: uri::locate(&add.path)?.into_owned(),
            path: add.path.clone(),
            size: u64::try_from(add.size).unwrap_or(0),
            num_records: rows,
            partition: Arc::new(partition),
            deletion_vector: add.deletion_vector.clone(),
            base_row_id: add.base_row_id,
            default_row_commit_version: add.default_row_commit_version,
        })
    }
}

impl ScanPlan {
    /// The plan of a scan that reads these files, in this order.
    ///
    /// # Errors
    ///
    /// `unknown-column`, `invalid-expression` and `invalid-argument`, as [`plan`](super::plan).
    pub fn of_tasks(head: &Head, scan: &Scan, tasks: Vec<ScanTask>) -> Result<ScanPlan> {
        head.schema.check_type_changes()?;
        let (all, metadata_columns) = metadata::with_metadata(head, scan)?;
        let schema = match scan.projection() {
            None => head.schema.to_arrow(),
            Some(columns) => project(&all, columns)?,
        };
        let files = u64::try_from(tasks.len()).unwrap_or(u64::MAX);
        Ok(ScanPlan {
            version: head.version,
            tasks,
            considered: files,
            partitions_considered: 0,
            partitions_read: 0,
            schema,
            filter: bound_filter(&all, scan)?,
            table_schema: all,
            metadata_columns,
            partition_columns: head.metadata.partition_columns.clone(),
            row_tracking: RowTracking::of(head),
            mapping: head.mapping,
            limit: scan.limit,
            batch_rows: scan.batch_rows.unwrap_or(BATCH_ROWS).max(1),
        })
    }
}
