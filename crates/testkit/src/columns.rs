//! A run as a person reads it: one column a client, one line an event, time downwards.

use std::collections::BTreeSet;
use std::fmt::Write;

use crate::choices::{Client, WORLD};
use crate::sim::Note;

/// Width of a column.
const WIDTH: usize = 40;

/// The events of a run side by side.
pub fn columns(notes: &[Note]) -> String {
    let clients: BTreeSet<Client> = notes.iter().map(|it| it.client).collect();
    let mut text = format!("{:>16}  ", "time");
    for client in &clients {
        let name = if *client == WORLD { "world".to_string() } else { format!("client {client}") };
        let _ = write!(text, "{name:WIDTH$}  ");
    }
    text.push('\n');
    for Note { at, client, what } in notes {
        let before = clients.iter().take_while(|it| *it != client).count();
        let (seconds, micros) = (at.as_secs(), at.subsec_micros());
        let time =
            format!("{}:{:02}:{:02}.{micros:06}", seconds / 3600, seconds / 60 % 60, seconds % 60);
        let indent = before * (WIDTH + 2);
        let _ = writeln!(text, "{time:>16}  {:indent$}{what}", "");
    }
    text.lines().map(|it| format!("{}\n", it.trim_end())).collect()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn each_client_has_its_column() {
        let note = |client, what: &str| Note {
            at: Duration::from_millis(3_601_500),
            client,
            what: what.to_string(),
        };
        let text = columns(&[note(1, "put 0.json"), note(2, "get 0.json")]);
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines[1], "  1:00:01.500000  put 0.json");
        assert_eq!(lines[2].find("get"), Some(18 + WIDTH + 2));
    }
}
