//! What a commit changes, in words; and random histories against a model of rows.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::*;
use crate::action::{Action, AddCdc, Metadata, Protocol};
use crate::batch::Width;
use crate::feature::TableFeature;
use crate::schema::PrimitiveType;
use crate::state::TableState;
use crate::version::Version;

/// A table with one partition column `p`, at version 0, without files.
fn head(schema: &str) -> Head {
    let schema = crate::schema::Schema::parse_ddl(schema).unwrap();
    let partition = schema.fields().iter().filter(|it| it.name.starts_with('p'));
    let metadata = Metadata {
        id: "t".to_string(),
        name: None,
        description: None,
        format_provider: "parquet".to_string(),
        format_options: BTreeMap::new(),
        schema_string: schema.to_json(),
        partition_columns: partition.map(|it| it.name.clone()).collect(),
        configuration: BTreeMap::new(),
        created_time: None,
    };
    Head::new(Version::ZERO, Protocol::legacy(), metadata).unwrap()
}

/// A vector that names rows, such as `1,4`; the words stand in for its bytes.
fn vector(rows: &str) -> DeletionVector {
    DeletionVector {
        storage_type: "p".to_string(),
        path_or_inline_dv: rows.to_string(),
        offset: Some(1),
        size_in_bytes: 1,
        cardinality: 1,
    }
}

/// One action: `+a` adds, `-a` removes, `*a` is a change file. Then may follow `:1,4`, a vector;
/// `~`, no data change; and for a remove `?`, neither size nor partition values, or `!`, no values
/// of null.
fn action(word: &str) -> Action {
    let (sign, rest) = word.split_at(1);
    let data_change = !rest.contains('~');
    let (says_nothing, leaves_out) = (rest.contains('?'), rest.contains('!'));
    let rest = rest.trim_end_matches(['~', '?', '!']);
    let (path, deletion_vector) = match rest.split_once(':') {
        Some((path, rows)) => (path.to_string(), Some(vector(rows))),
        None => (rest.to_string(), None),
    };
    let values: NullableMap = BTreeMap::from([("p".to_string(), Some("7".to_string()))]);
    let size = 10;
    match sign {
        "+" => Action::Add(Add {
            path,
            size,
            partition_values: values,
            data_change,
            deletion_vector,
            ..Add::default()
        }),
        "-" => Action::Remove(Remove {
            path,
            data_change,
            deletion_vector,
            size: (!says_nothing).then_some(size),
            extended_file_metadata: (!says_nothing).then_some(true),
            partition_values: match (says_nothing, leaves_out) {
                (true, _) => None,
                (false, true) => Some(NullableMap::new()),
                (false, false) => Some(values),
            },
            ..Remove::default()
        }),
        _ => Action::AddCdc(AddCdc {
            path,
            partition_values: values,
            size,
            data_change: false,
            tags: None,
        }),
    }
}

fn commit(words: &str) -> LogBatch {
    let actions: Vec<_> = words.split_whitespace().map(action).collect();
    LogBatch::from_actions(&actions).unwrap()
}

fn show(task: &ChangeTask) -> String {
    let rows = |it: &Option<DeletionVector>| {
        it.as_ref().map(|it| format!("{{{}}}", it.path_or_inline_dv)).unwrap_or_default()
    };
    let change = task.change.map_or("?", ChangeType::as_str);
    let (among, except) = (rows(&task.among), rows(&task.except));
    let except = if except.is_empty() { except } else { format!("-{except}") };
    let p = task.partition.get("p").cloned().flatten().map(|it| it.to_partition());
    let p = if p.as_deref() == Some("7") { String::new() } else { format!(" p={p:?}") };
    assert_eq!(task.size, 10);
    format!("{change} {}{among}{except}{p}", task.path)
}

/// `before` are the files of the version before; expected are the tasks, or the code of the error.
#[track_caller]
fn check(before: &str, words: &str, expected: &[&str]) {
    let (head, commit) = (head("a long, p long"), commit(words));
    let files = FileList::empty(Width::Wide);
    let files = files.advance(self::commit(before).adds.as_ref(), None).unwrap();
    let asks = CommitChanges::needs_before(&commit, &head).unwrap();
    let tasks = |before: Option<&FileList>| -> Result<Vec<String>> {
        let changes = CommitChanges::new(&commit, &head, before)?;
        assert_eq!(changes.is_empty(), (0..changes.len()).next().is_none());
        assert!(changes.task(changes.len(), &head).is_err());
        (0..changes.len()).map(|it| Ok(show(&changes.task(it, &head)?))).collect()
    };
    let actual = match tasks(Some(&files)) {
        Ok(it) => it,
        Err(it) => vec![it.code().as_str().to_string()],
    };
    assert_eq!(actual, expected, "{before} | {words}");
    match asks {
        true => assert_eq!(tasks(None).unwrap_err().code(), Code::Internal, "{words}"),
        false => assert_eq!(tasks(None).unwrap(), expected, "{words}"),
    }
}

/// spec: CDF-1, CDF-2, CDF-3, CDF-4, CDF-5, CDF-6, CDF-7, CDF-9
#[test]
fn of_one_commit() {
    let rows: &[(&str, &str, &[&str])] = &[
        ("", "", &[]),
        // Change files are all there is.
        ("+a", "*c -a +b *d", &["? c", "? d"]),
        ("", "*c", &["? c"]),
        // Files that join and leave, deletes first.
        ("", "+a +b", &["insert a", "insert b"]),
        ("", "+a:0,2", &["insert a-{0,2}"]),
        ("+a +b", "+c -b -a", &["delete b", "delete a", "insert c"]),
        ("+a:1", "-a:1", &["delete a-{1}"]),
        // Rearrangement is invisible.
        ("+a +b", "-a~ -b~ +c~", &[]),
        ("+a +b", "-a~ -b +c~ +d", &["delete b", "insert d"]),
        ("+a", "-a~ +a:1~", &[]),
        // One file, another vector, in any order of the actions.
        ("+a", "-a +a:1", &["delete a{1}"]),
        ("+a", "+a:1 -a", &["delete a{1}"]),
        ("+a:1", "-a:1 +a:1,4", &["delete a{1,4}-{1}", "insert a{1}-{1,4}"]),
        ("+a:1,4", "-a:1,4 +a:1", &["delete a{1}-{1,4}", "insert a{1,4}-{1}"]),
        ("+a:1", "-a:1 +a", &["insert a{1}"]),
        ("+a:2", "+a:3 -a:2", &["delete a{3}-{2}", "insert a{2}-{3}"]),
        (
            "+a:2 +b",
            "+c +a:3 -a:2 -b",
            &["delete b", "delete a{3}-{2}", "insert a{2}-{3}", "insert c"],
        ),
        // Two spellings of one path.
        ("+x=a%62", "-x=ab +x=a%62:1", &["delete x=a%62{1}"]),
        // One of the two is data change: what differs has changed.
        ("+a", "-a~ +a:1", &["delete a{1}"]),
        ("+a", "-a +a:1~", &["delete a{1}"]),
        // A remove that says too little of its file.
        ("+a +b:1", "-a? -b:1?", &["delete a", "delete b-{1}"]),
        ("+a", "-a?~", &[]),
        ("+a", "-a? +a:1", &["delete a{1}"]),
        ("+a", "-b?", &["invalid-action"]),
        ("+a:1", "-a?", &["invalid-action"]),
        // A promise of values leaves out nulls.
        ("+a", "-a!", &["delete a p=None"]),
    ];
    for (before, words, expected) in rows {
        check(before, words, expected);
    }
}

/// spec: CDF-10
#[test]
fn partition_values() {
    let of = |values: &[(&str, Option<&str>)], is_remove: bool| {
        let owned = |it: &(&str, Option<&str>)| (it.0.to_string(), it.1.map(str::to_string));
        let partition_values: NullableMap = values.iter().map(owned).collect();
        let action = match is_remove {
            false => Action::Add(Add {
                path: "a".into(),
                partition_values,
                data_change: true,
                ..Add::default()
            }),
            true => Action::Remove(Remove {
                path: "a".into(),
                size: Some(0),
                extended_file_metadata: Some(true),
                partition_values: Some(partition_values),
                data_change: true,
                ..Remove::default()
            }),
        };
        let head = head("a long, p long, pp date");
        let commit = LogBatch::from_actions(&[action]).unwrap();
        let changes = CommitChanges::new(&commit, &head, None).unwrap();
        match changes.task(0, &head) {
            Ok(it) => format!("{:?}", it.partition.values().collect::<Vec<_>>()),
            Err(it) => it.to_string(),
        }
    };
    let full = "[Some(Long(7)), Some(Date(1))]";
    assert_eq!(of(&[("p", Some("7")), ("pp", Some("1970-01-02"))], false), full);
    assert_eq!(of(&[("p", Some("7")), ("pp", Some("1970-01-02"))], true), full);
    assert_eq!(of(&[("p", Some("7"))], true), "[Some(Long(7)), None]");
    assert_eq!(of(&[("p", Some("")), ("pp", None)], false), "[None, None]");
    let missing = "a: a file has no value of partition column `pp`";
    assert_eq!(of(&[("p", Some("7"))], false), missing);
    let bad = of(&[("p", Some("seven")), ("pp", None)], false);
    assert!(bad.starts_with("a: partition column `p`: "), "{bad}");
}

/// spec: CDF-13
#[test]
fn schemas() {
    let rows = [
        ("a long", "a long", "ok"),
        ("a long", "a long, b string", "ok"),
        ("a long not null", "a long", "ok"),
        ("a int", "a long", "ok"),
        ("a byte", "a decimal(5,2)", "ok"),
        ("a void", "a struct<b int>", "ok"),
        ("s struct<a int>", "s struct<a long, b string>", "ok"),
        ("l array<int>, m map<int, date>", "l array<long>, m map<int, timestamp_ntz>", "ok"),
        ("a long, b string", "a long", "column `b` was dropped"),
        ("a long", "b long", "column `a` was dropped"),
        ("a long", "a int", "column `a` changed its type from long to integer"),
        ("a long", "a string", "column `a` changed its type from long to string"),
        ("a long", "a long not null", "column `a` became not null"),
        ("a long", "a long, b int not null", "column `b`, which is not null, was added"),
        ("s struct<a int>", "s struct<b int>", "column `s.a` was dropped"),
        ("s struct<a int>", "s array<int>", "changed its type"),
        ("l array<int>", "l array<int not null>", "what is in column `l` became not null"),
        ("a long, p long", "a long, p long, pp long", "the partition columns changed"),
    ];
    for (of, told, expected) in rows {
        match check_schema(&head(told), &head(of)) {
            Ok(()) => assert_eq!(expected, "ok", "{of} | {told}"),
            Err(it) => {
                assert_eq!(it.code(), Code::SchemaMismatch);
                assert!(it.message().contains(expected), "{of} | {told}: {it}");
            }
        }
    }
}

/// Under column mapping a column is the one of its physical name.
///
/// spec: CDF-13
#[test]
fn schemas_of_mapped_tables() {
    let mapped = |columns: &[(&str, &str)]| {
        let field = |(at, (name, physical)): (usize, &(&str, &str))| {
            let mut field = StructField::new(*name, PrimitiveType::Long, true);
            let key = |it: &str| format!("delta.columnMapping.{it}");
            field.metadata.insert(key("id"), (at + 1).into());
            field.metadata.insert(key("physicalName"), (*physical).into());
            field
        };
        let fields = columns.iter().enumerate().map(field).collect();
        let schema = crate::schema::Schema::new(fields).unwrap();
        let mut metadata = head("a long").metadata;
        metadata.schema_string = schema.to_json();
        let properties = [("mode", "name"), ("maxColumnId", "9")];
        let properties =
            properties.map(|it| (format!("delta.columnMapping.{}", it.0), it.1.into()));
        metadata.configuration = properties.into();
        let protocol = Protocol::legacy().with_features(&[TableFeature::ColumnMapping]);
        Head::new(Version::ZERO, protocol, metadata).unwrap()
    };
    let check = |of: &Head, told: &Head, expected: &str| match check_schema(told, of) {
        Ok(()) => assert_eq!(expected, "ok"),
        Err(it) => assert!(it.message().contains(expected), "{it}"),
    };
    let one = mapped(&[("a", "x")]);
    check(&one, &mapped(&[("a", "x"), ("b", "y")]), "ok");
    check(&one, &mapped(&[("b", "x")]), "column `a` was renamed to `b`");
    check(&one, &mapped(&[("b", "y")]), "column `a` was dropped");
    check(&one, &mapped(&[("a", "y")]), "column `a` was dropped");
    // A table that took up mapping keeps the names of its files.
    check(&head("a long"), &mapped(&[("a", "a")]), "ok");
    check(&head("a long"), &mapped(&[("b", "a")]), "column `a` was renamed to `b`");
}

/// Rows of a table: file and position.
type Rows = BTreeSet<(String, u64)>;

/// Rows of every file before vectors.
const FILE_ROWS: u64 = 4;

fn positions(of: Option<&DeletionVector>) -> BTreeSet<u64> {
    let words = of.map(|it| it.path_or_inline_dv.clone()).unwrap_or_default();
    words.split(',').filter_map(|it| it.parse().ok()).collect()
}

fn live(files: &FileList) -> Rows {
    let mut rows = Rows::new();
    for at in files.iter() {
        let add = files.get(at).unwrap();
        let gone = positions(add.deletion_vector.as_ref());
        rows.extend(
            (0..FILE_ROWS).filter(|it| !gone.contains(it)).map(|it| (add.path.clone(), it)),
        );
    }
    rows
}

/// Applies the rows of a task as an engine would; every delete must hit a row, every insert none.
fn apply(rows: &mut Rows, task: &ChangeTask) {
    let except = positions(task.except.as_ref());
    let among = match &task.among {
        Some(it) => positions(Some(it)),
        None => (0..FILE_ROWS).collect(),
    };
    for row in among.difference(&except) {
        let row = (task.path.clone(), *row);
        match task.change {
            Some(ChangeType::Delete) => assert!(rows.remove(&row), "{row:?} is deleted twice"),
            Some(ChangeType::Insert) => assert!(rows.insert(row), "a row is inserted twice"),
            other => panic!("{other:?}"),
        }
    }
}

/// One commit after a state: each file may leave, come back, or get another vector.
fn random_commit(files: &FileList, choices: &[(u8, u8, bool)]) -> String {
    let mut words = Vec::new();
    for (path, (what, bits, terse)) in ["a", "b", "c", "d", "e"].into_iter().zip(choices) {
        let name = |bits: u8| {
            let rows: Vec<_> =
                (0..4).filter(|it| bits >> it & 1 == 1).map(|it| it.to_string()).collect();
            if rows.is_empty() { path.to_string() } else { format!("{path}:{}", rows.join(",")) }
        };
        let now = files.find_path(path).map(|at| {
            let vector = files.get(at).unwrap().deletion_vector;
            vector.map_or(path.to_string(), |it| format!("{path}:{}", it.path_or_inline_dv))
        });
        let terse = if *terse { "?" } else { "" };
        match (now, what % 3) {
            (None, 0) => words.push(format!("+{}", name(*bits & 15))),
            (Some(now), 0) => words.push(format!("-{now}{terse}")),
            (Some(now), 1) if now != name(*bits & 15) => {
                let add = format!("+{}", name(*bits & 15));
                let remove = format!("-{now}{terse}");
                words.extend(if *bits < 128 { [add, remove] } else { [remove, add] });
            }
            _ => {}
        }
    }
    words.join(" ")
}

proptest! {
    /// The changes of versions a+1 to b, and the difference of a and b, make the rows of b from
    /// those of a; the difference in the other direction makes them back.
    ///
    /// spec: CDF-15, CDF-16
    #[test]
    fn changes_make_the_rows(
        choices in prop::collection::vec(prop::collection::vec(any::<(u8, u8, bool)>(), 5), 1..12),
    ) {
        let head = head("a long, p long");
        let files = FileList::empty(Width::Narrow);
        let mut states = vec![TableState { head: head.clone(), files }];
        let mut commits = Vec::new();
        for choice in &choices {
            let state = states.last().unwrap();
            let words = random_commit(&state.files, choice);
            let commit = commit(&words);
            let next = state.advance(state.head.version.next().unwrap(), &commit).unwrap();
            commits.push(commit);
            states.push(next);
        }
        for a in 0..states.len() {
            let mut rows = live(&states[a].files);
            for b in a..states.len() {
                if a < b {
                    let before = &states[b - 1].files;
                    let asks = CommitChanges::needs_before(&commits[b - 1], &head).unwrap();
                    let before = asks.then_some(before);
                    let changes = CommitChanges::new(&commits[b - 1], &head, before).unwrap();
                    for at in 0..changes.len() {
                        apply(&mut rows, &changes.task(at, &head).unwrap());
                    }
                }
                prop_assert_eq!(&rows, &live(&states[b].files));
                for (from, to) in [(a, b), (b, a)] {
                    let (from, to) = (&states[from].files, &states[to].files);
                    let difference = Difference::new(from, to);
                    let mut rows = live(from);
                    for at in 0..difference.len() {
                        apply(&mut rows, &difference.task(at, &head).unwrap());
                    }
                    prop_assert_eq!(rows, live(to));
                }
            }
            let same = &states[a].files;
            prop_assert!(Difference::new(same, same).is_empty());
        }
    }
}
