//! Pairs of drafts and winners, as tables.

use serde_json::{Map, json};

use super::*;
use crate::action::{Action, Add, CommitInfo, DomainMetadata, Metadata, Remove, SetTransaction};
use crate::expr::{col, lit};
use crate::schema::Schema;

/// A table partitioned by `p`, with a column `x`.
fn base() -> Head {
    let schema = Schema::parse_ddl("p string, x long").unwrap();
    let metadata = Metadata {
        id: "5fba94ed-9794-4965-ba6e-6ee3c0d22af9".into(),
        name: None,
        description: None,
        format_provider: "parquet".into(),
        format_options: BTreeMap::new(),
        schema_string: schema.to_json(),
        partition_columns: vec!["p".into()],
        configuration: BTreeMap::new(),
        created_time: Some(0),
    };
    Head::new(Version::from(6), Protocol::legacy(), metadata).unwrap()
}

/// `append` reads nothing; `delete:a` removes a file after reading everything (`scan`), or the
/// partition `p = 'us'` (`part`), or rows of `x` (`range`); `compact:a` rearranges it.
fn intent(words: &str) -> Intent {
    let mut intent = Intent::default();
    let filter = |it: Expr| Reads::Matching(Box::new(it.bind(&base().schema).unwrap()));
    for word in words.split(',') {
        let (verb, what) = word.split_once(':').unwrap_or((word, ""));
        match verb {
            "append" => {}
            "delete" => drop(intent.removes.insert((what.into(), None))),
            "compact" => {
                intent.removes.insert((what.into(), None));
                intent.rearranges_only = true;
            }
            "scan" => intent.reads = Reads::Everything,
            "part" => intent.reads = filter(col("p").eq(lit("us"))),
            "range" => intent.reads = filter(col("x").gt(lit(10))),
            "app" => drop(intent.apps.insert(what.into())),
            "domain" => drop(intent.domains.insert(what.into())),
            "metadata" => intent.metadata = true,
            "protocol" => intent.protocol = true,
            _ => panic!("{word}"),
        }
    }
    intent
}

/// `add:us` adds a file of the partition, `add:us:0..9` with bounds of `x`; `move:us` rearranged.
/// `remove:a:us` removes file `a` of the partition, `remove:a` does not say which partition.
fn winner(words: &str) -> LogBatch {
    let base = base();
    let mut actions = Vec::new();
    let mut info = Map::new();
    info.insert("operation".into(), json!("WRITE"));
    info.insert("engineInfo".into(), json!("Other/1"));
    for word in words.split(',') {
        let parts: Vec<&str> = word.split(':').collect();
        let part = |at: usize| parts.get(at).copied();
        match parts[0] {
            "blind" => drop(info.insert("isBlindAppend".into(), json!(true))),
            "add" | "move" => actions.push(Action::Add(Add {
                path: format!("p={}/new-{}", parts[1], actions.len()),
                partition_values: [("p".into(), Some(parts[1].into()))].into(),
                data_change: parts[0] == "add",
                stats: part(2).and_then(|it| it.split_once("..")).map(|(low, high)| {
                    let (min, max) = (format!(r#"{{"x":{low}}}"#), format!(r#"{{"x":{high}}}"#));
                    format!(r#"{{"numRecords":2,"minValues":{min},"maxValues":{max}}}"#)
                }),
                ..Add::default()
            })),
            "remove" => actions.push(Action::Remove(Remove {
                path: parts[1].into(),
                data_change: true,
                deletion_timestamp: Some(1),
                extended_file_metadata: Some(part(2).is_some()),
                partition_values: part(2).map(|it| [("p".into(), Some(it.into()))].into()),
                size: Some(1),
                ..Remove::default()
            })),
            "protocol" => {
                let to = Protocol { min_writer_version: 3, ..Protocol::legacy() };
                actions.push(Action::Protocol(to));
            }
            "same" => {
                actions.push(Action::Protocol(Protocol::legacy()));
                actions.push(Action::Metadata(base.metadata.clone()));
            }
            "metadata" => {
                let metadata = Metadata { name: Some("new".into()), ..base.metadata.clone() };
                actions.push(Action::Metadata(metadata));
            }
            "app" => actions.push(Action::SetTransaction(SetTransaction {
                app_id: parts[1].into(),
                version: 1,
                last_updated: None,
            })),
            "domain" => actions.push(Action::DomainMetadata(DomainMetadata {
                domain: parts[1].into(),
                configuration: String::new(),
                removed: false,
            })),
            _ => panic!("{word}"),
        }
    }
    actions.insert(0, Action::CommitInfo(CommitInfo { fields: info }));
    LogBatch::from_actions(&actions).unwrap()
}

fn verdict(ours: &str, isolation: IsolationLevel, theirs: &str) -> Result<(), Conflict> {
    super::check(&intent(ours), &base(), isolation, Version::from(7), &winner(theirs)).map_err(
        |it| {
            assert_eq!(it.code(), Code::Conflict);
            it.conflict().unwrap().clone()
        },
    )
}

#[track_caller]
fn check(table: &str) {
    for row in table.lines().skip(2).filter(|it| !it.trim().is_empty()) {
        let [level, ours, theirs, expected] = row.split_whitespace().collect::<Vec<_>>()[..] else {
            panic!("{row}");
        };
        let isolation = match level {
            "S" => IsolationLevel::Serializable,
            "W" => IsolationLevel::WriteSerializable,
            _ => IsolationLevel::SnapshotIsolation,
        };
        let verdict = match verdict(ours, isolation, theirs) {
            Ok(()) => "-".to_string(),
            Err(it) => format!("{:?}", it.reason),
        };
        assert_eq!(verdict, expected, "{row}");
    }
}

/// spec: CON-1, CON-2, CON-3, CON-4, CON-5, CON-6, CON-7, CON-8, CON-9, CON-12
#[test]
fn pairs() {
    check(
        "
        level ours                  theirs                expected
        S     append                add:us                -
        S     append                remove:a:us,add:eu    -
        S     append                same,add:us           -
        S     append                metadata              MetadataChanged
        S     append                protocol              ProtocolChanged
        S     append                protocol,metadata     ProtocolChanged
        S     append,metadata       metadata              MetadataChanged
        S     append,metadata       add:us                -
        S     append,app:s1         app:s1,add:us         ConcurrentTransaction
        S     append,app:s1         app:s2,add:us         -
        S     append,domain:x       domain:x              ConcurrentDomainMetadata
        S     append,domain:x       domain:y              -
        S     append,domain:x       domain:x,app:s1       ConcurrentDomainMetadata
        S     delete:a,scan         blind,add:us          ConcurrentAppend
        W     delete:a,scan         blind,add:us          -
        W     delete:a,scan         add:us                ConcurrentAppend
        W     delete:a,scan,metadata blind,add:us         ConcurrentAppend
        I     delete:a,scan         add:us                -
        I     delete:a,scan         remove:a:us           ConcurrentDeleteRead
        S     delete:a,scan         move:us               -
        S     delete:a,scan         remove:b:eu,move:eu   ConcurrentDeleteRead
        S     delete:a,scan         remove:b              ConcurrentDeleteRead
        S     delete:a,scan         metadata,add:us       MetadataChanged
        S     delete:a,part         add:eu                -
        S     delete:a,part         add:us                ConcurrentAppend
        S     delete:a,part         add:eu,add:us         ConcurrentAppend
        S     delete:a,part         move:us               -
        S     delete:a,part         remove:b:eu           -
        S     delete:a,part         remove:b:us           ConcurrentDeleteRead
        S     delete:a,part         remove:b              ConcurrentDeleteRead
        S     delete:a,range        add:us:0..9           -
        S     delete:a,range        add:us:0..11          ConcurrentAppend
        S     delete:a,range        add:us                ConcurrentAppend
        S     delete:a              remove:a:us           ConcurrentDeleteDelete
        S     delete:a              remove:%61            ConcurrentDeleteDelete
        S     delete:a              remove:b:us           -
        S     compact:a             add:us                -
        S     compact:a,scan        add:us                -
        S     compact:a             remove:a:us           ConcurrentDeleteDelete
        ",
    );
}

/// spec: CON-10, CON-11
#[test]
fn messages() {
    let theirs: Vec<String> = (0..12).map(|_| "add:us".to_string()).collect();
    let it = verdict("delete:a,scan", IsolationLevel::Serializable, &theirs.join(",")).unwrap_err();
    assert_eq!(it.files.len(), FILES_NAMED_MAX);
    assert_eq!((it.version, it.retry_helps), (Version::from(7), true));
    let text = it.to_string();
    let start = "ConcurrentAppendException: version 7 (`WRITE` by `Other/1`) added files where \
                 this operation had read: `p=us/new-0`, `p=us/new-1`";
    assert!(text.starts_with(start), "{text}");
    let end = "`p=us/new-9` and perhaps more; nothing was committed; run the operation again";
    assert!(text.ends_with(end), "{text}");

    let created = table_created(&winner("metadata"), false);
    let it = created.conflict().unwrap();
    assert_eq!((it.reason, it.version), (Reason::TableCreated, Version::ZERO));
    assert!(!it.retry_helps);
    assert!(created.to_string().contains("created the table"), "{created}");
}
