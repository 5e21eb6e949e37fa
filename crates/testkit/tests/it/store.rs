//! The simulator's store is what tables need of a store, as real ones are.

use std::sync::{Arc, Mutex};

use lakebed::Env;
use lakebed::store::conformance;
use lakebed_testkit::choices::Choices;
use lakebed_testkit::objects::Objects;
use lakebed_testkit::sim::World;
use lakebed_testkit::sim_store::SimStore;
use lakebed_testkit::weather::Weather;

/// Under a clear sky, in any order of events.
///
/// spec: STORE-4, STORE-5
#[test]
fn the_simulated_store_is_a_store() {
    for seed in 0..3 {
        let world = World::new(Choices::seeded(seed));
        let store = SimStore::new(&world, &Arc::new(Objects::default()), 1, Weather::clear());
        let env = Env::new(world.side(1, 0)).with_store("sim://", Arc::new(store));
        let place = env.open("sim://table").unwrap();
        let told = Arc::new(Mutex::new(None));
        let tell = Arc::clone(&told);
        world.spawn(
            1,
            Box::pin(async move {
                let checked = conformance::check(&place).await;
                let raced = conformance::race(&env, &place, 20).await;
                *tell.lock().unwrap() = Some(checked.and(raced));
            }),
        );
        world.run().unwrap();
        let checked = told.lock().unwrap().take().unwrap();
        checked.unwrap_or_else(|it| panic!("seed {seed}: {it:?}"));
    }
}
