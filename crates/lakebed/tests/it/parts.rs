//! Objects that are read in parts: all of them are of one object.

use arrow_array::RecordBatch;
use futures::executor::block_on;
use lakebed::{Append, Code, Op, Scan, Table};
use lakebed_testkit::cloud::{CloudServer, Dialect};

use crate::help::ids;
use crate::places;

/// A file that is replaced while parts of it are fetched is an error, never a mixture of both: when
/// one part is asked for after the other, and when both are asked for at once.
///
/// spec: STORE-11
#[test]
fn parts_are_of_one_object() {
    for dialect in [Dialect::S3, Dialect::Google] {
        let server = CloudServer::start(dialect).unwrap();
        let (place, location) = match dialect {
            Dialect::S3 => (places::s3("parts", &server.endpoint(), "bucket"), "s3://bucket/t"),
            Dialect::Google => (places::google("parts", &server.endpoint()), "gs://bucket/t"),
        };
        let table = Table::open_with(&place.env(), location).unwrap();
        let many = (0..400_000u64).map(|it| it.wrapping_mul(0x9e37_79b9_7f4a_7c15).cast_signed());
        block_on(async {
            table.append(ids(many), Append::new()).await.unwrap();
            server.replace_after_get(".parquet");
            let snapshot = table.snapshot().await.unwrap();
            let read = snapshot.read(&Scan::new()).await.unwrap().collect().await;
            let error = read.err().unwrap();
            assert_eq!(error.code(), Code::ObjectChanged, "{error:?}");
            let read = snapshot.read(&Scan::new()).await.unwrap().collect().await.unwrap();
            assert_eq!(read.iter().map(RecordBatch::num_rows).sum::<usize>(), 400_000);

            let (store, op) = (place.env().open(location).unwrap(), Op::default());
            let key = server.keys().into_iter().find(|it| it.ends_with(".parquet")).unwrap();
            let key = key.strip_prefix("t/").unwrap();
            server.replace_after_get(".parquet");
            let far = [0..10, 1_000_000..1_000_010];
            let error = store.get_ranges(&op, key, &far).await.err().unwrap();
            assert_eq!(error.code(), Code::ObjectChanged, "{error:?}");
            assert_eq!(store.get_ranges(&op, key, &far).await.unwrap().len(), 2);
        });
    }
}
