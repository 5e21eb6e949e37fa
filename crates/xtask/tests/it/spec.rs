//! Every rule has a test and every test names a rule that exists.
//!
//! A rule is a line `- **DV-7** ...` of a page in `spec/`. A test claims rules in its doc comment,
//! `spec: DV-7, DV-8`, each by its full id so that a search finds it. A rule without a test stands
//! in `spec/todo.md`, `- DV-9: reason`, until there is one.

use std::collections::{BTreeMap, BTreeSet};

use crate::source::{Source, files, root};

#[test]
fn rules_and_tests_agree() {
    let pages = files("spec", "md");
    let tests: Vec<Source> = files("crates", "rs");
    let todo = std::fs::read_to_string(root().join("spec/todo.md")).unwrap();
    let findings = disagreements(&pages, &tests, &todo);
    assert_eq!(findings, [""; 0]);
}

#[test]
fn planted_disagreements_are_found() {
    let page = |text: &str| vec![Source { path: "spec/a.md".into(), text: text.into() }];
    let test = |text: &str| vec![Source { path: "crates/a.rs".into(), text: text.into() }];
    let check = |rules: &str, tests: &str, todo: &str| {
        disagreements(&page(rules), &test(tests), todo).len()
    };
    let claim = "/// Says what.\n///\n/// spec: A-1\n#[test]\nfn a() {}\n";
    assert_eq!(check("- **A-1** One.\n", claim, ""), 0);
    assert_eq!(check("- **A-1** One.\n- **A-2** Two.\n", claim, ""), 1);
    assert_eq!(check("- **A-1** One.\n- **A-2** Two.\n", claim, "- A-2: later\n"), 0);
    assert_eq!(check("- **A-1** One.\n", claim, "- A-1: later\n"), 1);
    assert_eq!(check("- **A-1** One.\n", claim, "- A-9: later\n"), 1);
    assert_eq!(check("", claim, ""), 1);
    assert_eq!(check("- **A-1** One.\n- **A-1** Again.\n", claim, ""), 1);
    assert_eq!(check("- **A-1** One.\n", "/// spec: A-1\nfn helper() {}\n", ""), 2);
}

/// Everything that does not fit together.
fn disagreements(pages: &[Source], tests: &[Source], todo: &str) -> Vec<String> {
    let mut findings = Vec::new();
    let mut rules: BTreeMap<&str, &str> = BTreeMap::new();
    for page in pages {
        for id in page.text.lines().filter_map(rule) {
            if let Some(other) = rules.insert(id, &page.path) {
                findings.push(format!("{id} stands in {other} and in {}", page.path));
            }
        }
    }
    let mut claims: BTreeSet<String> = BTreeSet::new();
    for source in tests {
        for (line, id, is_test) in claimed(&source.text) {
            if !is_test {
                findings.push(format!("{}:{line}: {id} is claimed by no test", source.path));
            } else if !rules.contains_key(id.as_str()) {
                findings.push(format!("{}:{line}: there is no rule {id}", source.path));
            } else {
                claims.insert(id);
            }
        }
    }
    let later: BTreeSet<&str> = todo.lines().filter_map(waiting).collect();
    for id in &later {
        if !rules.contains_key(id) {
            findings.push(format!("spec/todo.md: there is no rule {id}"));
        } else if claims.contains(*id) {
            findings.push(format!("spec/todo.md: {id} has a test"));
        }
    }
    let unclaimed = rules.iter().filter(|(id, _)| !claims.contains(**id) && !later.contains(**id));
    findings.extend(unclaimed.map(|(id, page)| format!("{page}: no test claims {id}")));
    findings
}

/// The id of a line that states a rule.
fn rule(line: &str) -> Option<&str> {
    let (id, _) = line.strip_prefix("- **")?.split_once("**")?;
    is_id(id).then_some(id)
}

/// The id of a line of `todo.md`; the reason is part of the form.
fn waiting(line: &str) -> Option<&str> {
    let (id, reason) = line.strip_prefix("- ")?.split_once(": ")?;
    (is_id(id) && !reason.trim().is_empty()).then_some(id)
}

fn is_id(text: &str) -> bool {
    text.split_once('-').is_some_and(|(page, number)| {
        let upper = page.chars().all(|it| it.is_ascii_uppercase());
        upper && !page.is_empty() && number.parse::<u32>().is_ok()
    })
}

/// Claims of a file: line, id, and whether a test function follows.
fn claimed(text: &str) -> Vec<(usize, String, bool)> {
    let lines: Vec<&str> = text.lines().collect();
    let mut claims = Vec::new();
    let mut at = 0;
    while at < lines.len() {
        let Some(mut list) = lines[at].trim().strip_prefix("/// spec: ").map(str::to_string) else {
            at += 1;
            continue;
        };
        let line = at + 1;
        at += 1;
        while list.ends_with(',') && at < lines.len() {
            list += lines[at].trim().trim_start_matches("///");
            at += 1;
        }
        let above = |it: &&&str| it.trim().starts_with("///") || it.trim().starts_with("#[");
        let is_test = lines[at..].iter().take_while(above).any(|it| it.trim() == "#[test]");
        claims.extend(list.split(',').map(|it| (line, it.trim().to_string(), is_test)));
    }
    claims
}
