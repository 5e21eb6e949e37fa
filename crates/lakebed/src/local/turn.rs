//! Turns among the processes of one machine that commit to one table.
//!
//! Processes that all try for the next version get in each other's way: one of them wins, and the
//! others have read, written and synced for nothing. So they line up. Each takes a lock on the
//! log's folder before it tries and lets go of it when its commit has a name, so that the next one
//! reads on while the name becomes durable. Whoever waits long reads on meanwhile. The system keeps
//! the line, first come, first served, and ends the turn of a process that dies.
//!
//! ```text
//!   process a   [ read on, put 7 ]
//!   process b   waits             [ read 7, put 8 ]
//!   process c   waits          reads 7             [ read 8, put 9 ]
//! ```
//!
//! It is a courtesy. The put that creates only what is absent decides as it does without, so
//! writers that know nothing of turns are welcome, and whoever gets none in time, because the file
//! system has no locks or because a process sleeps in its turn, goes on without.

use std::fs::File;
use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use lakebed_log::log_path::LOG_DIR;

use super::Root;
use super::platform::{lock, try_lock, unlock};
use crate::env::Env;
use crate::store::Turn;

/// Threads of the process that stand in line, for all tables.
static STANDING: AtomicUsize = AtomicUsize::new(0);
/// Most of them: others have work for those threads.
const STANDING_MAX: usize = 16;

/// The turns of one table.
#[derive(Default)]
pub(super) struct Turns {
    /// The lock, in our turn.
    held: Mutex<Option<Lock>>,
    /// Does a thread of ours stand in line? Perhaps for somebody who has lost patience: one such
    /// thread is enough.
    stands: AtomicBool,
}

impl Turns {
    /// Lets the next one go.
    pub(super) fn end(&self) {
        self.held.lock().unwrap_or_else(PoisonError::into_inner).take();
    }
}

/// The lock, until this goes.
struct Lock(File);

impl Drop for Lock {
    fn drop(&mut self) {
        unlock(&self.0);
    }
}

/// Ends the turn when it goes.
struct Ours(Arc<Root>);

impl Ours {
    fn turn(root: &Arc<Root>, lock: Lock) -> Turn {
        let held = &root.turns.held;
        *held.lock().unwrap_or_else(PoisonError::into_inner) = Some(lock);
        Turn::new(Ours(Arc::clone(root)))
    }
}

impl Drop for Ours {
    fn drop(&mut self) {
        self.0.turns.end();
    }
}

/// A turn, unless none comes in time.
pub(super) async fn turn(env: &Env, root: &Arc<Root>, patience: Duration) -> Option<Turn> {
    let at_once = Arc::clone(root);
    let tried = env.block(move || Ok(held(&at_once.path, try_lock)));
    match tried.await.ok()? {
        Ok(lock) => return Some(Ours::turn(root, lock)),
        Err(err) if err.kind() == io::ErrorKind::WouldBlock => {}
        Err(_) => return None,
    }
    if STANDING_MAX <= STANDING.load(Ordering::Relaxed)
        || root.turns.stands.swap(true, Ordering::AcqRel)
    {
        return None;
    }
    STANDING.fetch_add(1, Ordering::Relaxed);
    let (stands, own) = (Arc::clone(root), env.clone());
    // On a thread of its own, wherever this one is driven: there is no lock that waits for a while.
    let waited = env.spawn(async move {
        own.block(move || {
            let held = held(&stands.path, lock);
            stands.turns.stands.store(false, Ordering::Release);
            STANDING.fetch_sub(1, Ordering::Relaxed);
            Ok(held.ok())
        })
        .await
    });
    let came = env.timeout(patience, "waiting for a turn to commit", waited).await;
    came.ok().flatten().map(|it| Ours::turn(root, it))
}

fn held(table: &Path, lock: fn(&File) -> io::Result<()>) -> io::Result<Lock> {
    let folder = File::open(table.join(LOG_DIR))?;
    lock(&folder)?;
    Ok(Lock(folder))
}
