//! Every store is put through the same suite, and every table lives on it the same.

use futures::executor::block_on;
use lakebed::store::conformance;
use lakebed::{Append, Overwrite, Table, Version};

use crate::help::{ids, rows_of};
use crate::places;

/// spec: STORE-4, STORE-5
#[test]
fn stores_are_what_tables_need() {
    for place in places::all() {
        let (env, location) = (place.env(), place.location());
        let store = env.open(&location).unwrap();
        let checked = block_on(async {
            conformance::check(&store).await?;
            conformance::uploads(&store).await
        });
        checked.unwrap_or_else(|it| panic!("{}: {it:?}", place.name));
    }
}

/// Sixteen writers, two hundred rounds: exactly one of them creates each version.
///
/// spec: STORE-5
#[test]
fn one_winner_a_version() {
    for place in places::all() {
        let (env, location) = (place.env(), place.location());
        let store = env.open(&location).unwrap();
        let raced = block_on(conformance::race(&env, &store, 200));
        raced.unwrap_or_else(|it| panic!("{}: {it:?}", place.name));
    }
}

/// A table is made, grown, replaced, read at both versions and through a second handle.
#[test]
fn tables_live_everywhere() {
    for place in places::all() {
        let (env, location) = (place.env(), place.location());
        let table = Table::open_with(&env, &location).unwrap();
        block_on(async {
            assert!(!table.exists().await.unwrap(), "{}", place.name);
            table.append(ids(0..10), Append::new()).await.unwrap();
            for id in 10..25 {
                table.append(ids([id]), Append::new()).await.unwrap();
            }
            let other = Table::open_with(&place.env(), &location).unwrap();
            let now = other.snapshot().await.unwrap();
            assert_eq!(now.version(), Version::from(15), "{}", place.name);
            assert_eq!(rows_of(&now).await, (0..25).collect::<Vec<_>>(), "{}", place.name);
            other.overwrite(ids([7]), Overwrite::all()).await.unwrap();
            assert_eq!(rows_of(&table.snapshot().await.unwrap()).await, [7], "{}", place.name);
            let then = table.snapshot_at(Version::from(12)).await.unwrap();
            assert_eq!(rows_of(&then).await, (0..22).collect::<Vec<_>>(), "{}", place.name);
        });
    }
}
