//! Pairs of drafts and winners, as tables.

use std::collections::BTreeMap;

use serde_json::{Map, json};

use super::*;
use crate::action::{
    Action, Add, CommitInfo, DeletionVector, DomainMetadata, Metadata, Remove, SetTransaction,
};
use crate::batch::Width;
use crate::expr::{col, lit};
use crate::files::FileList;
use crate::schema::Schema;

/// A table partitioned by `p`, with a column `x`.
pub(super) fn base() -> Head {
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

/// What the base holds: `a` and `c` of partition `us`, `b` of `eu`; of `c` nothing more is known.
fn state() -> TableState {
    let file = |path: &str, part: &str, range: Option<&str>| {
        Action::Add(Add { path: path.into(), ..add(part, range) })
    };
    let files =
        [file("a", "us", Some("0..9")), file("b", "eu", Some("20..29")), file("c", "us", None)];
    let batch = LogBatch::from_actions(&files).unwrap();
    let files = FileList::empty(Width::Wide).advance(batch.adds.as_ref(), None).unwrap();
    TableState { head: base(), files }
}

fn add(part: &str, range: Option<&str>) -> Add {
    let bounds = |it: &str| {
        let (low, high) = it.split_once("..").unwrap();
        let (min, max) = (format!(r#"{{"x":{low}}}"#), format!(r#"{{"x":{high}}}"#));
        format!(r#"{{"numRecords":2,"minValues":{min},"maxValues":{max}}}"#)
    };
    Add {
        partition_values: [("p".into(), Some(part.into()))].into(),
        data_change: true,
        stats: range.map(bounds),
        ..Add::default()
    }
}

fn vector() -> Option<DeletionVector> {
    Some(DeletionVector {
        storage_type: "u".into(),
        path_or_inline_dv: "ab^-aqEH.-t@S}K{vb[*k^".into(),
        offset: Some(1),
        size_in_bytes: 34,
        cardinality: 1,
    })
}

/// `append` reads nothing; `delete:a` removes a file after reading everything (`scan`), or the
/// partition `p = 'us'` (`part`), or rows of `x` (`range`); `compact:a` rearranges it; `vector:a`
/// gives it a vector, `add:n` adds a file by name. With `files` the base's files are known.
fn intent(words: &str) -> Intent {
    let mut intent = Intent::default();
    let filter = |it: Expr| Reads::Matching(Box::new(it.bind(&base().schema).unwrap()));
    for word in words.split(',') {
        let (verb, what) = word.split_once(':').unwrap_or((word, ""));
        match verb {
            "append" => {}
            "add" => drop(intent.adds.insert(what.into())),
            "delete" => drop(intent.removes.insert((what.into(), None))),
            "vector" => {
                intent.removes.insert((what.into(), None));
                intent.adds.insert(what.into());
            }
            "compact" => {
                intent.removes.insert((what.into(), None));
                intent.rearranges_only = true;
            }
            "files" => intent.state = Some(Arc::new(state())),
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
/// `vector:a:us` gives `a` a vector. `feature:x` adds a feature to the protocol, `without` lists
/// none; `set:x` sets a property.
fn winner(words: &str) -> LogBatch {
    let base = base();
    let mut actions = Vec::new();
    let mut info = Map::new();
    info.insert("operation".into(), json!("WRITE"));
    info.insert("engineInfo".into(), json!("Other/1"));
    for word in words.split(',') {
        let parts: Vec<&str> = word.split(':').collect();
        let part = |at: usize| parts.get(at).copied();
        let remove = || Remove {
            path: parts[1].into(),
            data_change: true,
            deletion_timestamp: Some(1),
            extended_file_metadata: Some(part(2).is_some()),
            partition_values: part(2).map(|it| [("p".into(), Some(it.into()))].into()),
            size: Some(1),
            ..Remove::default()
        };
        match parts[0] {
            "blind" => drop(info.insert("isBlindAppend".into(), json!(true))),
            "add" | "move" => actions.push(Action::Add(Add {
                path: format!("p={}/new-{}", parts[1], actions.len()),
                data_change: parts[0] == "add",
                ..add(parts[1], part(2))
            })),
            "named" => {
                actions.push(Action::Add(Add { path: parts[1].into(), ..add(parts[2], None) }));
            }
            "remove" => actions.push(Action::Remove(remove())),
            "vector" => {
                actions.push(Action::Remove(remove()));
                let (path, deletion_vector) = (parts[1].into(), vector());
                actions.push(Action::Add(Add { path, deletion_vector, ..add(parts[2], part(3)) }));
            }
            "feature" => actions.push(Action::Protocol(
                base.protocol.with_features(&[TableFeature::parse(parts[1])]),
            )),
            "without" => actions.push(Action::Protocol(Protocol {
                min_writer_version: 7,
                writer_features: Some(Vec::new()),
                ..Protocol::legacy()
            })),
            "same" => {
                actions.push(Action::Protocol(Protocol::legacy()));
                actions.push(Action::Metadata(base.metadata.clone()));
            }
            "metadata" => actions.push(Action::Metadata(changed(&base, None))),
            "set" => actions.push(Action::Metadata(changed(&base, Some(parts[1])))),
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

/// With another name, or a property.
fn changed(base: &Head, property: Option<&str>) -> Metadata {
    let mut metadata = base.metadata.clone();
    match property {
        Some(key) => drop(metadata.configuration.insert(key.into(), "true".into())),
        None => metadata.name = Some("new".into()),
    }
    metadata
}

fn verdict(ours: &str, isolation: IsolationLevel, theirs: &str) -> Result<(), Conflict> {
    super::check(&intent(ours), &base(), isolation, Version::from(7), &winner(theirs)).map_err(
        |it| {
            assert_eq!(it.code(), Code::Conflict);
            it.conflict().unwrap().clone()
        },
    )
}

/// One row a pair: its verdict at each level, or the one that all have.
#[track_caller]
fn check(table: &str) {
    use IsolationLevel::{Serializable, SnapshotIsolation, WriteSerializable};
    for row in table.lines().skip(2).filter(|it| !it.trim().is_empty()) {
        let [ours, theirs, expected @ ..] = &row.split_whitespace().collect::<Vec<_>>()[..] else {
            panic!("{row}");
        };
        let levels = [Serializable, WriteSerializable, SnapshotIsolation];
        let verdicts = levels.map(|level| match verdict(ours, level, theirs) {
            Ok(()) => "-".to_string(),
            Err(it) => format!("{:?}", it.reason).replace("Concurrent", "").replace("Changed", ""),
        });
        let expected = match expected {
            [all] => [*all; 3],
            [one, two, three] => [*one, *two, *three],
            _ => panic!("{row}"),
        };
        assert_eq!(verdicts, expected, "{row}");
    }
}

/// Every rule at every level; of one word, at all of them.
///
/// spec: CON-1, CON-2, CON-3, CON-4, CON-9, CON-13, CON-14
#[test]
fn pairs() {
    check(
        "
        ours                            theirs                              verdict
        append                          add:us                              -
        append                          blind,add:us                        -
        append                          remove:a:us,add:eu                  -
        append                          vector:a:us                         -
        append                          move:us,remove:a:us                 -
        append                          same,add:us                         -

        append                          feature:deletionVectors             -
        append                          feature:domainMetadata              -
        append                          feature:checkConstraints            Protocol
        append                          feature:telepathy                   Protocol
        append                          without                             Protocol
        append,protocol                 feature:deletionVectors             Protocol
        append,protocol                 add:us                              -
        delete:a,scan                   feature:deletionVectors             -

        append                          metadata                            Metadata
        append                          set:delta.appendOnly                Metadata
        append                          set:delta.enableDeletionVectors     -
        append,metadata                 set:delta.enableDeletionVectors     Metadata
        append,metadata                 metadata                            Metadata
        append,metadata                 add:us                              -
        append                          feature:checkConstraints,metadata   Protocol
        delete:a,scan                   metadata,add:us                     Metadata
        compact:a                       metadata                            Metadata

        append,domain:x                 domain:x                            DomainMetadata
        append,domain:x                 domain:y                            -
        append,domain:x                 domain:x,app:s1                     DomainMetadata
        append,domain:delta.rowTracking domain:delta.rowTracking,add:us     -

        append,app:s1                   app:s1,add:us                       Transaction
        append,app:s1                   app:s2,add:us                       -
        ",
    );
}

/// The same of files: Serializable, WriteSerializable, SnapshotIsolation.
///
/// spec: CON-5, CON-6, CON-7, CON-8, CON-9, CON-12, CON-15, CON-16, CON-17
#[test]
fn pairs_of_files() {
    check(
        "
        ours                            theirs                              verdict
        delete:a,scan                   blind,add:us                        Append - -
        delete:a,scan                   add:us                              Append Append -
        delete:a,scan                   blind,add:us,remove:b:eu            Append Append DeleteRead
        delete:a,scan,metadata          blind,add:us                        Append Append -
        delete:a,scan                   move:us                             -
        delete:a,part                   add:eu                              -
        delete:a,part                   add:us                              Append Append -
        delete:a,part                   blind,add:us                        Append - -
        delete:a,part                   add:eu,add:us                       Append Append -
        delete:a,part                   move:us                             -
        delete:a,range                  add:us:0..9                         -
        delete:a,range                  add:us:0..11                        Append Append -
        delete:a,range                  add:us                              Append Append -
        part                            add:us                              Append Append -
        scan                            blind,add:us                        Append - -

        delete:a,scan                   remove:b:eu                         DeleteRead
        delete:a,scan                   remove:b:eu,move:eu                 DeleteRead
        delete:a,scan                   remove:b                            DeleteRead
        delete:a,scan                   vector:b:eu                         DeleteRead
        delete:a,part                   remove:b:eu                         -
        delete:a,part                   remove:c:us                         DeleteRead
        delete:a,part                   remove:c                            DeleteRead
        delete:a,part                   vector:c:us                         DeleteRead
        delete:b,range                  remove:a:us                         DeleteRead
        delete:b,range,files            remove:a:us                         -
        delete:b,range,files            remove:a                            -
        delete:b,range,files            vector:a:us:0..9                    -
        delete:b,range,files            remove:c:us                         DeleteRead
        delete:a,part,files             remove:b                            -
        delete:a,part,files             remove:c                            DeleteRead
        delete:a,scan,files             remove:b                            DeleteRead
        delete:a,scan,files             remove:later:us                     -
        scan,files                      remove:%61:us                       DeleteRead

        delete:a                        remove:a:us                         DeleteDelete
        delete:a                        remove:%61                          DeleteDelete
        delete:a                        vector:a:us                         DeleteDelete
        vector:a                        vector:a:us                         DeleteDelete
        vector:a                        remove:a:us                         DeleteDelete
        vector:a                        named:a:us                          DeleteDelete
        add:n                           named:n:us                          DeleteDelete
        add:n                           blind,add:us                        -
        delete:a                        remove:b:us                         -
        delete:a,range,files            remove:a:us                         DeleteDelete
        compact:a                       add:us                              -
        compact:a,scan                  add:us                              -
        compact:a,scan                  remove:b:eu                         -
        compact:a                       remove:a:us                         DeleteDelete
        compact:a                       vector:a:us                         DeleteDelete
        ",
    );
}

/// Statistics and partition values of a table with mapped columns stand under physical names.
///
/// spec: CON-5, CON-12
#[test]
fn mapped_columns() {
    let mut base = base();
    let field = |name: &str, of: &str, id: u32| {
        json!({
            "name": name, "type": of, "nullable": true,
            "metadata": {
                "delta.columnMapping.id": id,
                "delta.columnMapping.physicalName": format!("col-{id}"),
            },
        })
    };
    let fields = [field("p", "string", 1), field("x", "long", 2)];
    base.metadata.schema_string = json!({"type": "struct", "fields": fields}).to_string();
    base.metadata.configuration.insert("delta.columnMapping.mode".into(), "name".into());
    let protocol = Protocol { min_reader_version: 2, min_writer_version: 5, ..Protocol::legacy() };
    let base = Head::new(base.version, protocol, base.metadata).unwrap();

    let stats = |column: &str| {
        let bounds = format!(r#"{{"{column}":7}}"#);
        Some(format!(r#"{{"numRecords":1,"minValues":{bounds},"maxValues":{bounds}}}"#))
    };
    let verdict = |filter: Expr, partition: &str, column: &str| {
        let reads = Reads::Matching(Box::new(filter.bind(&base.schema).unwrap()));
        let ours = Intent { reads, ..Intent::default() };
        let add = Add {
            path: "n".into(),
            partition_values: [(partition.into(), Some("eu".into()))].into(),
            data_change: true,
            stats: stats(column),
            ..Add::default()
        };
        let winner = LogBatch::from_actions(&[Action::Add(add)]).unwrap();
        let level = IsolationLevel::Serializable;
        super::check(&ours, &base, level, Version::from(7), &winner)
            .map_err(|it| it.conflict().unwrap().partitions.clone())
    };
    let (part, range) = (|| col("p").eq(lit("us")), || col("x").gt(lit(10)));
    assert_eq!(verdict(part(), "col-1", "col-2"), Ok(()));
    assert_eq!(verdict(range(), "col-1", "col-2"), Ok(()));
    assert_eq!(verdict(part(), "p", "col-2"), Err(Vec::new()));
    assert_eq!(verdict(range(), "col-1", "x"), Err(vec!["p=eu".to_string()]));
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
    let end = "`p=us/new-9` and perhaps more; of partition `p=us`; nothing was committed; run the \
               operation again";
    assert!(text.ends_with(end), "{text}");

    let partitions = |ours: &str, theirs: &str| {
        verdict(ours, IsolationLevel::Serializable, theirs).unwrap_err().partitions
    };
    assert_eq!(partitions("delete:a,scan", "remove:c:us,remove:b:eu"), ["p=eu", "p=us"]);
    assert_eq!(partitions("delete:a,scan", "remove:c"), [""; 0]);
    assert_eq!(partitions("delete:a", "remove:a:us"), ["p=us"]);
    assert_eq!(partitions("append,app:s", "app:s,add:us"), [""; 0]);

    let created = table_created(&winner("metadata"), false);
    let it = created.conflict().unwrap();
    assert_eq!((it.reason, it.version), (Reason::TableCreated, Version::ZERO));
    assert!(!it.retry_helps);
    assert!(created.to_string().contains("created the table"), "{created}");
}
