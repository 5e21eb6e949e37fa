//! A plan made once finds what a plan over the whole state finds.

use bytes::Bytes;
use proptest::prelude::*;

use super::*;
use crate::action::{Action, Add, DeletionVector, Metadata, Protocol, Remove};
use crate::batch::SparseFile;
use crate::batch::{Footer, LogBatch, Width, parquet_footer};
use crate::checkpoint::render_in_groups;
use crate::replay::Replay;
use crate::scan::{needs_stats, plan};
use crate::schema::{ColumnMapping, Schema};
use crate::state::TableState;
use crate::time::Timestamp;
use crate::version::Version;

const DDL: &str = "p int, q string, x long, s string, t timestamp, d double, b boolean, \
                   n struct<y: int, z: date>";
const GROUP_ROWS: usize = 5;

/// The columns by which tables are partitioned here.
const BOTH: &[&str] = &["p", "q"];

fn head_actions(configuration: &[(&str, &str)], partitioned: &[&str]) -> Vec<Action> {
    let metadata = Metadata {
        id: "t".to_string(),
        name: None,
        description: None,
        format_provider: "parquet".to_string(),
        format_options: Default::default(),
        schema_string: Schema::parse_ddl(DDL).unwrap().to_json(),
        partition_columns: partitioned.iter().map(|it| it.to_string()).collect(),
        configuration: configuration.iter().map(|(k, v)| (k.to_string(), v.to_string())).collect(),
        created_time: None,
    };
    vec![Action::Protocol(Protocol::legacy()), Action::Metadata(metadata)]
}

fn add(path: &str, p: Option<i32>, q: Option<&str>, stats: Option<&str>) -> Add {
    Add {
        path: path.to_string(),
        partition_values: [
            ("p".to_string(), p.map(|it| it.to_string())),
            ("q".to_string(), q.map(str::to_string)),
        ]
        .into(),
        size: 7,
        stats: stats.map(str::to_string),
        ..Add::default()
    }
}

fn vector(id: u8) -> DeletionVector {
    DeletionVector {
        storage_type: "u".to_string(),
        path_or_inline_dv: format!("ab^-aqEH.-t@S}}K{{vb[*k^{id}"),
        offset: Some(1),
        size_in_bytes: 1,
        cardinality: 1,
    }
}

fn fold(newest_first: impl IntoIterator<Item = LogBatch>) -> TableState {
    let mut replay = Replay::new(Version::from(9), Width::Wide);
    newest_first.into_iter().for_each(|it| replay.feed(it).unwrap());
    replay.finish().unwrap()
}

/// A checkpoint of these files in small row groups.
fn checkpoint(configuration: &[(&str, &str)], partitioned: &[&str], adds: &[Add]) -> Bytes {
    let mut actions = head_actions(configuration, partitioned);
    actions.extend(adds.iter().cloned().map(Action::Add));
    let state = fold([LogBatch::from_actions(&actions).unwrap()]);
    render_in_groups(&state, Timestamp::from_millis(0), GROUP_ROWS).unwrap().bytes
}

/// The same file as if somebody else had written it: its footer is believed less.
fn foreign(bytes: &Bytes) -> Bytes {
    let (ours, theirs) = (b"Lakebed version ", b"Another version ");
    let at = bytes.windows(ours.len()).rposition(|it| it == ours).unwrap();
    let mut bytes = bytes.to_vec();
    bytes[at..at + theirs.len()].copy_from_slice(theirs);
    bytes.into()
}

/// Sifts; only what was asked for can be read. Gives the bytes fetched as well.
fn sift_all(bytes: &Bytes, tail: &[LogBatch], scan: &Scan) -> Option<(ScanPlan, u64)> {
    let size = bytes.len() as u64;
    let Footer::Ready(footer) = parquet_footer(bytes, size).unwrap() else { panic!("no footer") };
    let checkpoint = LogBatch::from_parquet(bytes.clone(), Width::Wide).unwrap();
    let state = fold(tail.iter().cloned().chain([checkpoint]));
    let head = Arc::new(state.head);
    let width = if needs_stats(&head, scan).unwrap() { Width::Wide } else { Width::Narrow };
    let mut replay = Replay::new(head.version, width);
    tail.iter().for_each(|it| replay.feed(it.clone()).unwrap());
    let tail = replay.finish_files().unwrap();
    let sift = Sift::new(&head, head.read, scan, tail).unwrap()?;
    let (mut adds, mut fetched, mut done) = (0, 0, Vec::new());
    for group in Group::of(&footer, size) {
        adds += group.adds();
        let Some(mut group) = sift.group(group) else { continue };
        while let Some(ranges) = group.wants() {
            let mut file = SparseFile::new(size);
            for range in ranges {
                fetched += range.end - range.start;
                let part =
                    usize::try_from(range.start).unwrap()..usize::try_from(range.end).unwrap();
                file.insert(range.start, bytes.slice(part));
            }
            group = group.step(file).unwrap();
        }
        done.push(group);
    }
    Some((sift.finish(done, adds).unwrap(), fetched))
}

fn shown(plan: &ScanPlan) -> Vec<String> {
    let vector = |it: &ScanTask| it.deletion_vector.as_ref().map(|it| it.unique_id());
    let task =
        |it: &ScanTask| format!("{} {} {:?} {:?}", it.path, it.size, vector(it), it.partition);
    plan.tasks().iter().map(task).collect()
}

/// As a snapshot keeps it where statistics are not asked for.
fn narrowed(files: &FileList) -> FileList {
    let mut narrow = FileList::empty(Width::Narrow);
    for chunk in files.chunks().iter().rev() {
        let live = arrow_array::UInt32Array::from_iter_values(chunk.live.iter());
        let batch = arrow_select::take::take_record_batch(chunk.rows.batch(), &live).unwrap();
        let adds = crate::batch::Adds::new(batch).unwrap();
        narrow = narrow.advance(Some(&adds), None).unwrap();
    }
    narrow
}

/// Both ways find the same files in the same order, whoever wrote the checkpoint.
#[track_caller]
fn check(bytes: &Bytes, tail: &[LogBatch], filter: &str) {
    let scan = Scan::new().filter(filter.parse().unwrap());
    for bytes in [bytes.clone(), foreign(bytes)] {
        let checkpoint = LogBatch::from_parquet(bytes.clone(), Width::Wide).unwrap();
        let mut state = fold(tail.iter().cloned().chain([checkpoint]));
        if !needs_stats(&state.head, &scan).unwrap() {
            state.files = narrowed(&state.files);
        }
        let whole = plan(&state, state.head.read, &scan).unwrap();
        let Some((once, _)) = sift_all(&bytes, tail, &scan) else { continue };
        assert_eq!(shown(&once), shown(&whole), "{filter}");
        assert!(once.considered() >= whole.considered(), "{filter}");
        for (a, b) in once.tasks().iter().zip(whole.tasks()) {
            let known = a.num_records.zip(b.num_records);
            assert!(known.is_none_or(|(a, b)| a == b), "{filter}");
        }
    }
}

/// Statistics as a careful or a careless writer leaves them.
fn stats() -> impl Strategy<Value = Option<String>> {
    let long = -20i64..20;
    let text = prop_oneof![
        "[a-c]{0,3}".boxed(),
        Just("a".repeat(32)).boxed(),
        Just("a\u{fffd}".to_string()).boxed(),
        Just("b\u{1f600}".to_string()).boxed(),
    ];
    let sound = (long.clone(), 0i64..6, text.clone(), text, -9i32..9, any::<bool>(), 0u8..4);
    let sound = sound.prop_map(|(low, more, a, b, y, flag, nulls)| {
        let high = low + more;
        let (a, b) = if a <= b { (a, b) } else { (b, a) };
        let time = |it: i64| format!("1970-01-01T00:00:{:02}.000Z", it.rem_euclid(60));
        format!(
            r#"{{"numRecords":3,"minValues":{{"x":{low},"s":"{a}","t":"{}","d":{low}.5,"b":false,
            "n":{{"y":{y},"z":"2024-01-0{}"}}}},"maxValues":{{"x":{high},"s":"{b}","t":"{}",
            "d":{high}.5,"b":{flag},"n":{{"y":{},"z":"2024-02-01"}}}},
            "nullCount":{{"x":{nulls},"s":0,"t":0,"d":0,"b":0,"n":{{"y":0,"z":{nulls}}}}}}}"#,
            time(low + 20),
            1 + y.rem_euclid(9),
            time(high + 20),
            y + 2
        )
    });
    prop_oneof![
        12 => sound.prop_map(Some),
        1 => Just(None),
        2 => (0u16..2500).prop_map(|it| format!(
            r#"{{"numRecords":3,"minValues":{{"t":"1969-12-31T23:59:5{}.{:03}Z"}},"maxValues":{{"t":"1970-01-01T00:00:00.000Z"}}}}"#,
            7 + it / 1000, it % 1000
        )).prop_map(Some),
        1 => (0u16..3000).prop_map(|it| Some(format!(
            r#"{{"numRecords":3,"minValues":{{"n":{{"z":"{it:04}-10-01"}},"t":"{it:04}-10-01T00:00:00.000Z"}},
            "maxValues":{{"n":{{"z":"{it:04}-10-20"}},"t":"{it:04}-10-20T00:00:00.000Z"}}}}"#
        ))),
        1 => long.prop_map(|it| Some(format!(
            r#"{{"numRecords":3,"minValues":{{"x":{}}},"maxValues":{{"x":{it}}}}}"#, it + 3
        ))),
        1 => Just(Some("{\"numRecords\":3,\"minValues\":{\"x\":1".to_string())),
        1 => Just(Some(r#"{"numRecords":3,"minValues":7,"maxValues":{"x":null}}"#.to_string())),
        1 => Just(Some(r#"{"numRecords":0}"#.to_string())),
        1 => Just(Some(r#"{"numRecords":3,"nullCount":{"x":3,"s":3}}"#.to_string())),
        1 => Just(Some(r#"{"numRecords":3,"minValues":{"d":"NaN"},"maxValues":{"d":1}}"#.to_string())),
    ]
}

fn filter() -> impl Strategy<Value = String> {
    let term = prop_oneof![
        (-21i64..21).prop_map(|it| format!("x > {it}")),
        (-21i64..21).prop_map(|it| format!("{it} >= x")),
        (-21i64..21).prop_map(|it| format!("x = {it}")),
        (-21i64..21).prop_map(|it| format!("x in ({it}, {})", it + 3)),
        (0i32..4).prop_map(|it| format!("p = {it}")),
        (0i32..4).prop_map(|it| format!("p + 1 < {it}")),
        Just("p is null".to_string()),
        "[a-c]".prop_map(|it| format!("q = '{it}'")),
        "[a-c]{1,2}".prop_map(|it| format!("s >= '{it}'")),
        "[a-c]{1,2}".prop_map(|it| format!("s like '{it}%'")),
        Just("s > 'b'".to_string()),
        (0u8..60).prop_map(|it| format!("t > '1970-01-01T00:00:{it:02}Z'")),
        (-21i64..21).prop_map(|it| format!("d < {it}")),
        Just("b".to_string()),
        Just("x is null".to_string()),
        Just("x is not null".to_string()),
        (-9i32..9).prop_map(|it| format!("n.y <= {it}")),
        (1u8..9).prop_map(|it| format!("n.z < '2024-01-0{it}'")),
        (1580u16..1585).prop_map(|it| format!("n.z > '{it}-10-12'")),
        (0u16..2000).prop_map(|it| format!("t < '1969-12-31T23:59:58.{it:04}Z'")),
        (1580u16..1585).prop_map(|it| format!("t < '{it}-10-12T00:00:00Z'")),
    ];
    let both = (term.clone(), term.clone(), 0u8..4).prop_map(|(a, b, how)| match how {
        0 => format!("{a} and {b}"),
        1 => format!("{a} or {b}"),
        2 => format!("not ({a} and {b})"),
        _ => format!("({a}) and not ({b})"),
    });
    prop_oneof![term, both]
}

/// A file of the checkpoint, and what the commits above it do to it.
fn file() -> impl Strategy<Value = (Option<i32>, Option<String>, Option<String>, u8)> {
    (proptest::option::of(0i32..4), proptest::option::of("[a-c]"), stats(), 0u8..10)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// spec: RECON-10, STATS-20
    #[test]
    fn finds_what_the_whole_state_finds(
        files in proptest::collection::vec(file(), 1..40),
        forms in 0u8..3,
        partitioned in prop_oneof![Just(BOTH), Just(&["p"][..]), Just(&["q"][..])],
        filters in proptest::collection::vec(filter(), 4),
    ) {
        let mut adds = Vec::new();
        let (mut first, mut second) = (Vec::new(), Vec::new());
        for (at, (p, q, stats, fate)) in files.iter().enumerate() {
            let path = format!("f{at}.parquet");
            let mut add = add(&path, *p, q.as_deref(), stats.as_deref());
            add.partition_values.retain(|name, _| partitioned.contains(&name.as_str()));
            if fate % 5 == 4 {
                add.deletion_vector = Some(vector(1));
            }
            let remove = Action::Remove(Remove {
                path: path.clone(),
                deletion_timestamp: Some(1),
                deletion_vector: add.deletion_vector.clone(),
                ..Remove::default()
            });
            match fate {
                0 => first.push(remove),
                1 => {
                    first.push(remove);
                    let marked = Add { deletion_vector: Some(vector(2)), ..add.clone() };
                    first.push(Action::Add(marked));
                }
                2 => {
                    first.push(Action::Add(Add { path: format!("new{path}"), ..add.clone() }));
                }
                3 => second.push(Action::Add(Add { size: 8, ..add.clone() })),
                _ => {}
            }
            adds.push(add);
        }
        let json = ("delta.checkpoint.writeStatsAsJson", if forms == 1 { "false" } else { "true" });
        let parsed =
            ("delta.checkpoint.writeStatsAsStruct", if forms == 0 { "false" } else { "true" });
        let bytes = checkpoint(&[json, parsed], partitioned, &adds);
        let tail: Vec<_> = [second, first]
            .iter()
            .filter(|it| !it.is_empty())
            .map(|it| LogBatch::from_actions(it).unwrap())
            .collect();
        for filter in &filters {
            check(&bytes, &tail, filter);
        }
    }
}

/// What is fetched grows with the answer, not with the table.
#[test]
fn bytes_follow_the_answer() {
    let files: Vec<Add> = (0..400)
        .map(|it| {
            let stats =
                format!(r#"{{"numRecords":3,"minValues":{{"x":{it}}},"maxValues":{{"x":{it}}}}}"#);
            add(&format!("f{it}.parquet"), Some(it / 20), Some("a"), Some(&stats))
        })
        .collect();
    let fetched = |files: &[Add], filter: &str| {
        let bytes = checkpoint(&[("delta.checkpoint.writeStatsAsStruct", "true")], BOTH, files);
        let scan = Scan::new().filter(filter.parse().unwrap());
        let (plan, fetched) = sift_all(&bytes, &[], &scan).unwrap();
        (plan.tasks().len(), fetched)
    };
    for filter in ["p = 2", "x >= 40 and x < 60"] {
        let (small, large) = (fetched(&files[..100], filter), fetched(&files, filter));
        assert_eq!((small.0, large.0), (20, 20), "{filter}");
        assert!(large.1 <= small.1 + small.1 / 4, "{filter}: {small:?} {large:?}");
    }
}

/// The sidecars of these files with the tags that a checkpoint gives them.
fn tagged(state: &TableState, rows: usize) -> Vec<(Sidecar, Bytes)> {
    let now = Timestamp::from_millis(0);
    let files = crate::checkpoint::render_sidecars(&state.head, &state.files, now, rows).unwrap();
    let name = |at: usize| format!("{at}.parquet");
    let sidecar = |(at, file): (usize, crate::checkpoint::SidecarFile)| {
        let mut tags = sidecar_tags(&file.bytes, &state.head).unwrap();
        tags.insert("lakebed.name".to_string(), Some(name(at)));
        let (path, tags) = (name(at), Some(tags));
        (Sidecar { path, size_in_bytes: 1, modification_time: 0, tags }, file.bytes)
    };
    files.into_iter().enumerate().map(sidecar).collect()
}

/// spec: CKPT-29
#[test]
fn sidecars_are_ruled_out_by_their_own_tags() {
    let mut actions = head_actions(&[], BOTH);
    for at in 0..20 {
        let x = format!(r#"{{"x":{at}}}"#);
        let stats =
            format!(r#"{{"numRecords":1,"minValues":{x},"maxValues":{x},"nullCount":{{"x":0}}}}"#);
        actions.push(Action::Add(add(&format!("f{at}"), Some(at / 5), Some("q"), Some(&stats))));
    }
    let state = fold([LogBatch::from_actions(&actions).unwrap()]);
    let head = Arc::new(state.head.clone());
    let sidecars = tagged(&state, 5);
    let ruled_out = |filter: &str, sidecars: &[(Sidecar, Bytes)]| -> Vec<Option<u64>> {
        let scan = Scan::new().filter(filter.parse().unwrap());
        let sift = Sift::new(&head, head.read, &scan, FileList::empty(Width::Wide));
        let sift = sift.unwrap().unwrap();
        sidecars.iter().map(|it| sift.rules_out(&it.0)).collect()
    };
    assert_eq!(ruled_out("p = 2", &sidecars), [Some(5), Some(5), None, Some(5)]);
    assert_eq!(ruled_out("x < 7", &sidecars), [None, None, Some(5), Some(5)]);
    assert_eq!(ruled_out("q = 'other'", &sidecars), [Some(5); 4]);
    assert_eq!(ruled_out("p is null", &sidecars), [Some(5); 4]);
    assert_eq!(ruled_out("s = 'a'", &sidecars), [None; 4]);
    // A name may be another column's by now where columns are mapped.
    let mapped = Head { mapping: ColumnMapping::Name, ..state.head.clone() };
    assert!(sidecars.iter().all(|it| sidecar_tags(&it.1, &mapped).unwrap().is_empty()));
    let mapped = Arc::new(mapped);
    let scan = Scan::new().filter("p = 2".parse().unwrap());
    let sift = Sift::new(&mapped, mapped.read, &scan, FileList::empty(Width::Wide));
    let sift = sift.unwrap().unwrap();
    assert!(sidecars.iter().all(|it| sift.rules_out(&it.0).is_none()));
    // Carried on under another name, or spoiled, they say nothing.
    let changed = |change: &dyn Fn(&mut Sidecar)| {
        let mut sidecars = sidecars.clone();
        sidecars.iter_mut().for_each(|it| change(&mut it.0));
        ruled_out("p = 2", &sidecars)
    };
    assert_eq!(changed(&|it| it.path = "copy.parquet".to_string()), [None; 4]);
    assert_eq!(changed(&|it| it.tags = None), [None; 4]);
    let bounds = |text: &'static str| {
        move |it: &mut Sidecar| {
            let tags = it.tags.as_mut().unwrap();
            tags.insert("lakebed.bounds".to_string(), Some(text.to_string()));
        }
    };
    for text in ["", "{}", r#"{"adds":1,"partition":{"p":{"min":"x"}},"columns":[]}"#] {
        assert_eq!(changed(&bounds(text)), [None; 4], "{text}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// What tags rule out the whole state does not find either.
    ///
    /// spec: CKPT-29
    #[test]
    fn tags_rule_out_what_a_plan_does_not_read(
        files in proptest::collection::vec(file(), 1..40),
        filters in proptest::collection::vec(filter(), 4),
    ) {
        let mut actions = head_actions(&[], BOTH);
        for (at, (p, q, stats, _)) in files.iter().enumerate() {
            let add = add(&format!("f{at}.parquet"), *p, q.as_deref(), stats.as_deref());
            actions.push(Action::Add(add));
        }
        let state = fold([LogBatch::from_actions(&actions).unwrap()]);
        let head = Arc::new(state.head.clone());
        for filter in filters {
            let Ok(filter) = filter.parse() else { continue };
            let scan = Scan::new().filter(filter);
            let Ok(planned) = plan(&state, head.read, &scan) else { continue };
            let Ok(Some(sift)) = Sift::new(&head, head.read, &scan, FileList::empty(Width::Wide))
            else { continue };
            let read: Vec<&str> = planned.tasks().iter().map(|it| it.path.as_str()).collect();
            for (sidecar, bytes) in tagged(&state, 4) {
                if sift.rules_out(&sidecar).is_none() {
                    continue;
                }
                let adds = LogBatch::from_parquet(bytes, Width::Narrow).unwrap().adds.unwrap();
                for path in adds.path().iter().flatten() {
                    prop_assert!(!read.contains(&path), "{path}");
                }
            }
        }
    }
}
