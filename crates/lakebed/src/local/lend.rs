//! Memory for large reads, used again while there are some.
//!
//! A fresh buffer of megabytes costs more than the copy into it: the kernel hands out every page of
//! it cleared, one fault at a time. A scan reads column after column of about the same size, so
//! that what one gave back fits the next. When nobody holds a buffer any more, none is kept.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;

/// Smaller reads are left to the allocator.
const LEAST_BYTES: usize = 256 << 10;
/// Most bytes that are kept for later.
const KEPT_BYTES: usize = 64 << 20;

/// Buffers that come back.
#[derive(Debug, Default)]
pub(super) struct Lender(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    free: Vec<Vec<u8>>,
    bytes: usize,
    lent: usize,
}

/// A buffer that goes back when the last who reads it is done.
struct Lent {
    bytes: Vec<u8>,
    home: Arc<Lender>,
}

impl Lender {
    /// An empty buffer with room for `len` bytes; `None` if there is no memory.
    pub(super) fn borrow(&self, len: usize) -> Option<Vec<u8>> {
        let found = {
            let mut state = self.state();
            let fits = |it: &&(usize, usize)| len <= it.1 && it.1 / 2 <= len;
            let rooms: Vec<_> = state.free.iter().map(Vec::capacity).enumerate().collect();
            let best = rooms.iter().filter(fits).min_by_key(|it| it.1).map(|it| it.0);
            let found = best.map(|it| state.free.swap_remove(it));
            state.bytes -= found.as_ref().map_or(0, Vec::capacity);
            found
        };
        if let Some(found) = found {
            return Some(found);
        }
        // The next read of its kind may be a little larger.
        let room = if len < LEAST_BYTES { len } else { len.saturating_add(len / 8) };
        let mut bytes = Vec::new();
        bytes.try_reserve_exact(room).ok().map(|()| bytes)
    }

    /// The bytes to share; the buffer comes back by itself.
    pub(super) fn lend(self: &Arc<Lender>, bytes: Vec<u8>) -> Bytes {
        if bytes.capacity() < LEAST_BYTES {
            return Bytes::from(bytes);
        }
        self.state().lent += 1;
        Bytes::from_owner(Lent { bytes, home: Arc::clone(self) })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl AsRef<[u8]> for Lent {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        let mut bytes = std::mem::take(&mut self.bytes);
        bytes.clear();
        let mut state = self.home.state();
        state.lent -= 1;
        if state.lent == 0 {
            *state = State::default();
        } else if state.bytes.saturating_add(bytes.capacity()) <= KEPT_BYTES {
            state.bytes += bytes.capacity();
            state.free.push(bytes);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A buffer is used again by a read of about its size, and none outlives the last reader.
    #[test]
    fn buffers_come_back() {
        let home = Arc::new(Lender::default());
        let lend = |len: usize| {
            let mut bytes = home.borrow(len).unwrap();
            bytes.resize(len, 7);
            home.lend(bytes)
        };
        let (large, other) = (lend(1 << 20), lend(2 << 20));
        let at = large.as_ptr();
        drop(large);
        assert_eq!(home.state().free.len(), 1);
        let small = lend(1000);
        assert_ne!(small.as_ptr(), at);
        let again = lend((1 << 20) - 5);
        assert_eq!(again.as_ptr(), at);
        assert_eq!((again.len(), again[0]), ((1 << 20) - 5, 7));
        drop((other, again, small));
        let state = home.state();
        assert_eq!((state.free.len(), state.bytes, state.lent), (0, 0, 0));
    }
}
