//! What outlives its deadline ends by itself, and says so.

use std::time::Duration;

use arrow_array::{RecordBatch, RecordBatchIterator, RecordBatchReader};
use futures::executor::block_on;
use futures::{StreamExt, TryStreamExt};
use lakebed::{Append, Code, Data, Env, Error, Op, Overwrite, Scan};

use crate::help::{grown, ids, memory, rows, table};
use crate::slow::Slow;

fn hurried(place: &str) -> lakebed::Table {
    table(place).with_op(Op::new(Duration::from_millis(150)))
}

fn late<T>(result: Result<T, Error>) {
    let error = result.err().expect("it should be late");
    assert_eq!(error.code(), Code::DeadlineExceeded, "{error}");
}

/// Past the deadline a read and a history yield an error once, then nothing.
#[test]
fn streams_end_at_the_deadline() {
    let place = memory();
    grown(&place, 3);
    let table = hurried(&place);
    let mut batches = block_on(async {
        let now = table.snapshot().await?;
        now.read(&Scan::new()).await
    })
    .unwrap();
    let mut history = block_on(table.history()).unwrap();
    assert!(block_on(batches.next()).unwrap().is_ok());
    assert!(block_on(history.next()).unwrap().is_ok());
    block_on(Env::tokio().sleep(Duration::from_millis(200)));
    late(block_on(batches.next()).unwrap());
    late(block_on(history.next()).unwrap());
    assert!(block_on(batches.next()).is_none() && block_on(history.next()).is_none());
    assert_eq!(block_on(table.snapshot()).unwrap().version().get(), 2);
}

/// Input that never comes, or comes while a thread stands still, does not hold a write past its
/// deadline, and what was written of it does not stay.
#[test]
fn input_that_does_not_come() {
    let folder = tempfile::tempdir().unwrap();
    let place = folder.path().to_str().unwrap();
    grown(place, 1);
    let endless = || {
        let rows = futures::stream::iter([Ok(ids(0..1000))]);
        Data::stream(ids([]).schema(), rows.chain(futures::stream::pending()))
    };
    let slow = || {
        let rows = (0..2).map(|id| {
            block_on(Env::tokio().sleep(Duration::from_millis(400)));
            Ok(ids([id]))
        });
        Data::reader(RecordBatchIterator::new(rows, ids([]).schema()))
    };
    for data in [endless(), slow()] {
        late(block_on(hurried(place).append(data, Append::new())));
    }
    late(block_on(hurried(place).overwrite(endless(), Overwrite::all())));
    late(block_on(hurried(place).overwrite(slow(), Overwrite::all())));
    assert_eq!(rows(&block_on(table(place).snapshot()).unwrap()), [0]);
    let parquet = || {
        let files = std::fs::read_dir(place).unwrap();
        files.filter(|it| it.as_ref().unwrap().path().extension().is_some()).count()
    };
    for _ in 0..200 {
        if parquet() == 1 {
            return;
        }
        block_on(Env::tokio().sleep(Duration::from_millis(10)));
    }
    panic!("{} files", parquet());
}

/// Everything that yields batches can be written as it is.
#[test]
fn kinds_of_data() {
    let place = memory();
    let table = table(&place);
    let boxed = |id: i64| -> Box<dyn RecordBatchReader + Send> {
        Box::new(RecordBatchIterator::new([Ok(ids([id]))], ids([]).schema()))
    };
    block_on(async {
        table.append(boxed(1), Append::new()).await?;
        table.overwrite(boxed(2), Overwrite::all()).await?;
        let here = table.snapshot().await?;
        table.append(here.read(&Scan::new()).await?, Append::new()).await?;
        let rows = futures::stream::iter([Ok(ids([3])), Ok(ids([4]))]);
        table.append(Data::stream(ids([]).schema(), rows), Append::new()).await
    })
    .unwrap();
    let now = block_on(table.snapshot()).unwrap();
    assert_eq!(rows(&now), [2, 2, 3, 4]);
    let read = block_on(async { now.read(&Scan::new()).await?.try_collect::<Vec<_>>().await });
    assert_eq!(read.unwrap().iter().map(RecordBatch::num_rows).sum::<usize>(), 4);
}

/// A long listing takes as long as it takes, while its entries come; one that stands still is given
/// up.
#[test]
fn long_listings() {
    let slow = Slow::new(1, 0);
    let world = slow.clone();
    slow.run(async move {
        let writer = world.table(1);
        writer.append(ids([0]), Append::new()).await.unwrap();
        let reader = world.table(2).with_op(Op::new(Duration::from_secs(3600)));
        assert_eq!(reader.snapshot().await.unwrap().version().get(), 0);
        for id in 1..9 {
            writer.append(ids([id]), Append::new()).await.unwrap();
        }
        world.crawl(Duration::from_secs(45));
        assert_eq!(reader.snapshot().await.unwrap().version().get(), 8);
        world.crawl(Duration::ZERO);
        writer.append(ids([9]), Append::new()).await.unwrap();
        world.crawl(Duration::from_secs(150));
        let error = reader.snapshot().await.err().expect("nothing came for too long");
        assert_eq!(error.code(), Code::Unavailable, "{error}");
    });
}
