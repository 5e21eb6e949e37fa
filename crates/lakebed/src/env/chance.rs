//! Random numbers that no other thread, process or machine draws.
//!
//! Ids name files that must never be written twice and commits that must never be taken for one
//! another, so a repeated id loses data. The state is 256 bits from the operating system, because
//! with the 64 bits of a smaller generator two processes in a busy cluster would meet one day. And
//! a forked child inherits its parent's state, so the process id is looked at with every draw.

use std::fs::File;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::io::Read;
use std::process;
use std::sync::{Mutex, PoisonError};

/// A source of random numbers: xoshiro256++, which is fast, well spread, and no secret.
pub(super) struct Chance(Mutex<State>);

struct State {
    process: u32,
    words: [u64; 4],
}

impl Chance {
    pub(super) fn new() -> Chance {
        Chance(Mutex::new(State::seed(process::id())))
    }

    pub(super) fn draw(&self) -> u64 {
        let process = process::id();
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if state.process != process {
            *state = State::seed(process);
        }
        state.next()
    }
}

impl State {
    fn seed(process: u32) -> State {
        let mut words = [0; 4];
        let system = system_bytes();
        for (at, (word, bytes)) in words.iter_mut().zip(&system).enumerate() {
            // The hasher's keys are the standard library's own randomness: all there is where the
            // system's source cannot be read as a file, and no harm elsewhere.
            let mut hasher = RandomState::new().build_hasher();
            hasher.write_usize(at);
            hasher.write_u32(process);
            *word = u64::from_ne_bytes(*bytes) ^ hasher.finish();
        }
        if words == [0; 4] {
            words = [1; 4];
        }
        State { process, words }
    }

    fn next(&mut self) -> u64 {
        let [a, b, c, d] = self.words;
        let result = a.wrapping_add(d).rotate_left(23).wrapping_add(a);
        let (c, d) = (c ^ a, d ^ b);
        self.words = [a ^ d, b ^ c, c ^ (b << 17), d.rotate_left(45)];
        result
    }
}

/// 32 bytes of the operating system's randomness, or zeros where it offers no such file.
fn system_bytes() -> [[u8; 8]; 4] {
    let mut words = [[0; 8]; 4];
    if let Ok(mut file) = File::open("/dev/urandom") {
        let _ = file.read_exact(words.as_flattened_mut());
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The first numbers of the reference implementation, from the state 1, 2, 3, 4.
    #[test]
    fn agrees_with_the_reference() {
        let mut state = State { process: 0, words: [1, 2, 3, 4] };
        let expected = [41943041, 58720359, 3588806011781223, 3591011842654386];
        assert_eq!([(); 4].map(|()| state.next()), expected);
    }

    /// A state that a fork copied is not used in the child.
    #[test]
    fn a_fork_starts_anew() {
        let (parent, child) = (Chance::new(), Chance::new());
        let words = parent.0.lock().unwrap().words;
        *child.0.lock().unwrap() = State { process: process::id() + 1, words };
        assert_ne!(parent.draw(), child.draw());
    }

    #[test]
    fn seeds_differ() {
        assert_ne!(State::seed(1).words, State::seed(1).words);
    }
}
