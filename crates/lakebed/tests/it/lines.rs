//! What a watcher of the process is told.

use std::fmt::Debug;
use std::sync::{Arc, Mutex};

use futures::executor::block_on;
use lakebed::{Append, Overwrite, Scan, Table};
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::subscriber::with_default;
use tracing::{Dispatch, Event, Level, Metadata, Subscriber};

use crate::help::{ids, memory};

/// Keeps the lines of level info.
#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<String>>>);

impl Subscriber for Lines {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        *metadata.level() <= Level::INFO && metadata.target().starts_with("lakebed")
    }
    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }
    fn record(&self, _: &Id, _: &Record<'_>) {}
    fn record_follows_from(&self, _: &Id, _: &Id) {}
    fn event(&self, event: &Event<'_>) {
        let mut line = Line(String::new());
        event.record(&mut line);
        self.0.lock().unwrap().push(line.0);
    }
    fn enter(&self, _: &Id) {}
    fn exit(&self, _: &Id) {}
}

struct Line(String);

impl Visit for Line {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        match field.name() {
            "message" => self.0.insert_str(0, &format!("{value:?}")),
            "table" => {}
            name => self.0.push_str(&format!(" {name}={value:?}")),
        }
    }
}

#[test]
fn one_line_a_verb() {
    let lines = Lines::default();
    let place = memory();
    let run = async {
        let table = Table::open(&place).await?;
        table.append(ids([1, 2]), Append::new()).await?;
        let now = table.snapshot().await?;
        now.read(&Scan::new()).await?.collect().await?;
        table.overwrite(ids([3]), Overwrite::all()).await?;
        now.checkpoint().await
    };
    // While there is but one subscriber, a line that another thread comes to first is asked of that
    // thread's, which has none, and then never heard of again.
    let _second = Dispatch::new(Lines::default());
    with_default(lines.clone(), || block_on(run)).unwrap();
    let expected = [
        "append version=0 changed=true files=\"1\" rows=\"2\"",
        "refreshed version=0 files=1",
        "read version=0 files=1 rows=2",
        "refreshed version=0 files=1",
        "overwrite version=1 changed=true files=\"1\" rows=\"1\"",
    ];
    let lines = lines.0.lock().unwrap();
    assert_eq!(lines.get(..5).unwrap(), expected);
    assert!(lines[5].starts_with("checkpoint written version=0 files=1 size="), "{lines:?}");
}
