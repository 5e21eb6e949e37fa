//! The change files of an overwrite, where the table keeps a change feed.
//!
//! Row changes follow from whole files that come and go, but not from a file that takes the place
//! of another one with most of its rows: these would be told as deleted and inserted. So a commit
//! that rewrites files has change files, and as those then tell all of its changes, they hold the
//! rows of the files that leave whole and of the new ones, too:
//!
//! ```text
//!   files that leave whole   all rows               delete
//!   files with both kinds    rows that match        delete
//!   files of new rows        all rows               insert
//!   files of copied rows     nothing: they were there before
//! ```

use std::sync::Arc;

use arrow_array::{RecordBatch, StringArray};
use arrow_schema::{DataType as ArrowType, Field, Schema as ArrowSchema};
use futures::{StreamExt, TryStreamExt};
use lakebed_log::action::{Add, AddCdc};
use lakebed_log::changes::{CHANGE_FOLDER, CHANGE_TYPE, ChangeType};
use lakebed_log::error::{Error, Result};
use lakebed_log::schema::{PrimitiveType, Schema, StructField};
use lakebed_log::state::Head;

use super::{Overwrite, Target};
use crate::rewrite::{self, Rewrite, Rewritten};
use crate::txn::Context;
use crate::write::Data;

/// The files of an overwrite.
pub(super) struct Files<'a> {
    /// Those that leave whole without having been looked into.
    pub(super) whole: &'a [Add],
    /// Those that were.
    pub(super) rewritten: &'a Rewritten,
    /// Those of the caller's rows.
    pub(super) new: &'a [Add],
}

/// Writes them. What was written is deleted if it fails.
pub(super) async fn write(
    context: &Context,
    target: &Target,
    options: &Overwrite,
    rewrite: &Rewrite<'_>,
    head: &Head,
    files: Files<'_>,
) -> Result<Vec<AddCdc>> {
    let mut written = Vec::new();
    let writer = Writer { context, target, options, before: head };
    let done = writer.write(rewrite, files, &mut written).await;
    if let Err(it) = done {
        context.discard(&rewrite::keys(&written)?).await;
        return Err(it);
    }
    let cdc = |it: Add| AddCdc {
        path: it.path,
        partition_values: it.partition_values,
        size: it.size,
        data_change: false,
        tags: None,
    };
    Ok(written.into_iter().map(cdc).collect())
}

struct Writer<'a> {
    context: &'a Context,
    target: &'a Target,
    options: &'a Overwrite,
    /// The version that is overwritten.
    before: &'a Head,
}

impl Writer<'_> {
    async fn write(
        &self,
        rewrite: &Rewrite<'_>,
        files: Files<'_>,
        written: &mut Vec<Add>,
    ) -> Result<()> {
        let whole = [files.whole, &files.rewritten.whole].concat();
        let (old, deleted) = (&*self.before.schema, ChangeType::Delete);
        written.extend(self.told(old, deleted, rewrite.all_of(&whole)?).await?);
        let some = rewrite.take_out(files.rewritten, |it| self.told(old, deleted, it));
        written.extend(some.await?);
        // In the schema that the new rows have.
        let schema = Arc::new(self.target.schema.clone());
        let after = Head { schema: Arc::clone(&schema), ..self.before.clone() };
        let new = rewrite.of(&after).all_of(files.new)?;
        written.extend(self.told(&schema, ChangeType::Insert, new).await?);
        Ok(())
    }

    /// Writes rows with what became of them.
    async fn told(&self, schema: &Schema, change: ChangeType, rows: Data) -> Result<Vec<Add>> {
        let field = StructField::new(CHANGE_TYPE, PrimitiveType::String, false);
        let fields = schema.fields().iter().cloned().chain([field]);
        let schema = Schema::new(fields.collect())?;
        let (of_rows, rows) = rows.into_parts(&self.context.env);
        let fields = of_rows.fields().iter().cloned();
        let field = Arc::new(Field::new(CHANGE_TYPE, ArrowType::Utf8, false));
        let shape = Arc::new(ArrowSchema::new(fields.chain([field]).collect::<Vec<_>>()));
        let told = Arc::clone(&shape);
        let rows = rows.and_then(move |it| {
            let told = labelled(&it, &told, change);
            async move { told }
        });
        let rows = Data::stream(shape, rows.boxed());
        let (context, options) = (self.context, &self.options.append);
        self.target.write_to(context, CHANGE_FOLDER, &schema, rows, options).await
    }
}

fn labelled(
    batch: &RecordBatch,
    shape: &Arc<ArrowSchema>,
    change: ChangeType,
) -> Result<RecordBatch> {
    let label = StringArray::from(vec![change.as_str(); batch.num_rows()]);
    let columns = batch.columns().iter().cloned().chain([Arc::new(label) as _]).collect();
    RecordBatch::try_new(Arc::clone(shape), columns)
        .map_err(|it| Error::internal("rows lost their shape").because(it))
}
