//! The shape of the code: floors, length of files and functions, width, ASCII, module headers.
//!
//! Each rule is a function from text to findings, so that a planted violation can be given to it: a
//! rule that finds nothing in the sources must be seen to find something.

use crate::source::{Source, code_only, files, production, root};

/// Longest file before its tests, and with them.
const FILE_LINES: (usize, usize) = (600, 900);
/// Longest function.
const FUNCTION_LINES: usize = 70;
/// Widest line.
const LINE_WIDTH: usize = 100;
/// Crates whose modules stand on floors, as ARCHITECTURE.md draws them.
const FLOORED: &[&str] = &["lakebed-log", "lakebed"];

#[test]
fn no_module_names_one_above_it() {
    let drawing = std::fs::read_to_string(root().join("ARCHITECTURE.md")).unwrap();
    for (name, folder) in FLOORED.iter().zip(["crates/log/src", "crates/lakebed/src"]) {
        let order = floors(&drawing, name);
        let sources = files(folder, "rs");
        assert_eq!(
            looks_up(&order, folder, &sources),
            [""; 0],
            "see the floors in ARCHITECTURE.md"
        );
        assert_eq!(undrawn(&order, folder, &sources), [""; 0], "draw the floor in ARCHITECTURE.md");
    }
}

#[test]
fn a_planted_look_upstairs_is_found() {
    let drawing = "## Floors of `x`\n```\n2 TOP roof\n1 LOW cellar ground\n```\n";
    let order = floors(drawing, "x");
    assert_eq!(order, ["cellar", "ground", "roof"]);
    let plant = |path: &str, text: &str| vec![Source { path: path.into(), text: text.into() }];
    let look = |path, text| looks_up(&order, "src", &plant(path, text));
    assert_eq!(look("src/roof.rs", "use crate::cellar::A;"), [""; 0]);
    assert_eq!(look("src/cellar.rs", "use crate::roof::A;").len(), 1);
    assert_eq!(look("src/cellar.rs", "use crate::{cellar, roof::A};").len(), 1);
    assert_eq!(look("src/cellar/deep.rs", "fn a() { crate::ground::b() }").len(), 1);
    assert_eq!(look("src/cellar.rs", "//! [`crate::roof`]\nfn a() {}"), [""; 0]);
    let tests = "#[cfg(test)]\nmod tests {\n use crate::roof; }";
    assert_eq!(look("src/cellar.rs", tests), [""; 0]);
    assert_eq!(undrawn(&order, "src", &plant("src/attic.rs", "")).len(), 1);
}

#[test]
fn files_and_functions_are_short() {
    let findings: Vec<String> = rust().iter().flat_map(too_long).collect();
    assert_eq!(findings, [""; 0]);
}

#[test]
fn planted_long_files_and_functions_are_found() {
    let plant = |text: String| too_long(&Source { path: "x.rs".into(), text }).len();
    let body = |lines: usize| format!("fn a() {{\n{}}}\n", "    b(\"}\");\n".repeat(lines));
    assert_eq!(plant(body(FUNCTION_LINES - 2)), 0);
    assert_eq!(plant(body(FUNCTION_LINES)), 1);
    assert_eq!(plant("// a\n".repeat(FILE_LINES.0)), 0);
    assert_eq!(plant("// a\n".repeat(FILE_LINES.0 + 1)), 1);
    let tests = format!("#[cfg(test)]\nmod tests {{\n{}}}\n", "// a\n".repeat(FILE_LINES.1));
    assert_eq!(plant(tests), 1);
}

#[test]
fn files_are_plain_and_explain_themselves() {
    let findings: Vec<String> = rust().iter().flat_map(untidy).collect();
    assert_eq!(findings, [""; 0]);
}

#[test]
fn planted_untidiness_is_found() {
    let plant = |text: &str| untidy(&Source { path: "src/x.rs".into(), text: text.into() }).len();
    assert_eq!(plant("//! Says why.\nfn a() {}\n"), 0);
    assert_eq!(plant("fn a() {}\n"), 1);
    assert_eq!(plant("//! Says why\u{2014}here.\n"), 1);
    assert_eq!(plant(&format!("//! {}\n", "x".repeat(LINE_WIDTH))), 1);
    assert_eq!(plant(&format!("//! Says why.\nfn {}() {{}}\n", "x".repeat(LINE_WIDTH))), 1);
    assert_eq!(plant("//! Says why.\nfn a() { todo!() }\n"), 1);
}

fn rust() -> Vec<Source> {
    ["crates", "benches", "fuzz"].iter().flat_map(|it| files(it, "rs")).collect()
}

/// Modules from the lowest floor up, left before right: the first code block below the crate's
/// heading in ARCHITECTURE.md, one floor a line: number, NAME, modules.
fn floors(drawing: &str, name: &str) -> Vec<String> {
    let heading = format!("## Floors of `{name}`");
    let below = drawing.split(&heading).nth(1).unwrap_or_else(|| panic!("no heading `{heading}`"));
    let block = below.split("```").nth(1).unwrap_or_else(|| panic!("no drawing below `{heading}`"));
    let mut floors: Vec<(u32, Vec<&str>)> = Vec::new();
    for line in block.lines() {
        let mut words = line.split_whitespace();
        if let Some(number) = words.next().and_then(|it| it.parse().ok()) {
            floors.push((number, words.skip(1).collect()));
        }
    }
    floors.sort_by_key(|(number, _)| *number);
    floors.into_iter().flat_map(|(_, names)| names).map(str::to_string).collect()
}

/// The top-level module a file belongs to; `None` for the crate root.
fn module<'a>(folder: &str, path: &'a str) -> Option<&'a str> {
    let inside = path.strip_prefix(folder)?.trim_start_matches('/');
    let name = inside.split('/').next()?.trim_end_matches(".rs");
    (name != "lib").then_some(name)
}

/// Files that belong to no floor.
fn undrawn(order: &[String], folder: &str, sources: &[Source]) -> Vec<String> {
    let undrawn = |it: &&Source| {
        module(folder, &it.path).is_some_and(|it| !order.iter().any(|known| known == it))
    };
    sources.iter().filter(undrawn).map(|it| format!("{} stands on no floor", it.path)).collect()
}

/// Where a module names one that stands above it.
fn looks_up(order: &[String], folder: &str, sources: &[Source]) -> Vec<String> {
    let mut findings = Vec::new();
    for source in sources.iter().filter(|it| !it.path.ends_with("/tests.rs")) {
        let Some(here) = module(folder, &source.path) else { continue };
        let Some(floor) = order.iter().position(|it| it == here) else { continue };
        let code = code_only(production(&source.text));
        for other in code.split("crate::").skip(1).flat_map(named) {
            if order[floor + 1..].contains(&other) {
                findings.push(format!("{}: `{here}` names `{other}`, above it", source.path));
            }
        }
    }
    findings
}

/// The modules that follow `crate::`: one, or those of a brace list.
fn named(rest: &str) -> Vec<String> {
    let word = |it: &str| -> String {
        it.trim_start().chars().take_while(|it| it.is_alphanumeric() || *it == '_').collect()
    };
    let Some(list) = rest.strip_prefix('{') else { return vec![word(rest)] };
    let (mut depth, mut names, mut start) = (0, Vec::new(), 0);
    for (at, character) in list.char_indices() {
        match character {
            '{' => depth += 1,
            '}' | ',' if depth == 0 => {
                names.push(word(&list[start..at]));
                start = at + 1;
                if character == '}' {
                    break;
                }
            }
            '}' => depth -= 1,
            _ => {}
        }
    }
    names
}

/// Files and functions over their lengths.
fn too_long(source: &Source) -> Vec<String> {
    let Source { path, text } = source;
    let mut findings = Vec::new();
    let is_test = path.ends_with("/tests.rs") || path.contains("/tests/");
    let (alone, whole) = (production(text).lines().count(), text.lines().count());
    if !is_test && FILE_LINES.0 < alone {
        findings.push(format!("{path}: {alone} lines before the tests, over {}", FILE_LINES.0));
    }
    if FILE_LINES.1 < whole {
        findings.push(format!("{path}: {whole} lines, over {}", FILE_LINES.1));
    }
    let code = code_only(text);
    let lines: Vec<&str> = code.lines().collect();
    for (at, line) in lines.iter().enumerate() {
        let Some(name) = function(line) else { continue };
        let length = function_length(&lines[at..]);
        if FUNCTION_LINES < length {
            findings.push(format!("{path}:{}: `{name}` has {length} lines", at + 1));
        }
    }
    findings
}

/// The name of the function that starts in this line.
fn function(line: &str) -> Option<&str> {
    let (before, after) = line.split_once("fn ")?;
    let words = ["pub", "const", "async", "unsafe", "extern", "\"\"", "default"];
    let is_start =
        before.split_whitespace().all(|it| words.contains(&it) || it.starts_with("pub("));
    let name = after.split(['(', '<']).next()?;
    (is_start && after.contains(['(', '<'])).then_some(name)
}

/// Lines from the start of a function to its closing brace; 1 for a declaration without body.
fn function_length(lines: &[&str]) -> usize {
    let mut depth = 0usize;
    for (at, line) in lines.iter().enumerate() {
        for character in line.chars() {
            match character {
                '{' | '(' | '[' => depth += 1,
                ';' if depth == 0 => return at + 1,
                ')' | ']' => depth = depth.saturating_sub(1),
                '}' => {
                    depth = depth.saturating_sub(1);
                    if depth == 0 {
                        return at + 1;
                    }
                }
                _ => {}
            }
        }
    }
    lines.len()
}

/// Lines that are too wide or not ASCII, files that do not say what they are for, promises.
fn untidy(source: &Source) -> Vec<String> {
    let Source { path, text } = source;
    let mut findings = Vec::new();
    if !text.starts_with("//!") {
        findings.push(format!("{path}: no module header"));
    }
    // Text between quotes cannot be broken and is not counted.
    let bare = code_only(text);
    for (at, (line, bare)) in text.lines().zip(bare.lines()).enumerate() {
        let counted = if line.trim_start().starts_with("//") { line } else { bare };
        if LINE_WIDTH < counted.chars().count() {
            findings.push(format!("{path}:{}: over {LINE_WIDTH} columns", at + 1));
        }
        if !line.is_ascii() {
            findings.push(format!("{path}:{}: not ASCII", at + 1));
        }
    }
    let promises = ["todo!", "unimplemented!"].iter().filter(|it| bare.contains(*it));
    findings.extend(promises.map(|it| format!("{path}: {it}")));
    findings
}
