//! `doctor`: what is wrong with a table, and what to do.

use lakebed::doctor::{Finding, Report, Severity};
use lakebed::{Code, Doctor, Error, Result};
use serde_json::{Value, json};

use crate::args::{DoctorArgs, Format};
use crate::commands::Session;
use crate::exit::{Advised, plain};
use crate::output::{self, Cells};

pub(crate) async fn run(session: &Session<'_>, args: &DoctorArgs) -> Result<()> {
    let table = session.table(&args.table)?;
    let report = table.doctor(Doctor::new().deep(args.deep)).await?;
    session.bar.clear();
    let format = if args.json { Format::Json } else { session.format() };
    match format {
        Format::Json | Format::Ndjson => output::line(&document(&report).to_string())?,
        Format::Table => people(&report)?,
        _ => {
            let names = ["severity", "code", "place", "what", "advice"];
            let row = |it: &Finding| {
                let cells = [it.severity.to_string(), it.code.to_string(), it.place.clone()];
                let cells = cells.into_iter().chain([it.what.clone(), it.advice.to_string()]);
                cells.map(Value::from).collect::<Vec<_>>()
            };
            let rows: Vec<_> = report.findings().iter().map(row).collect();
            session.list(&names, &rows, Cells::Whole)?;
        }
    }
    match report.is_sound() {
        true => Ok(()),
        false => Err(verdict(&report).at(table.location())),
    }
}

/// Everything, for programs.
fn document(report: &Report) -> Value {
    let checked = report.checked();
    let finding = |it: &Finding| {
        json!({
            "severity": it.severity.to_string(),
            "code": it.code,
            "place": it.place,
            "what": it.what,
            "advice": it.advice,
        })
    };
    json!({
        "version": report.version().map(|it| it.get()),
        "sound": report.is_sound(),
        "found": report.found(),
        "findings": report.findings().iter().map(finding).collect::<Vec<_>>(),
        "checked": {
            "commits": checked.commits,
            "checkpoints": checked.checkpoints,
            "compacted": checked.compacted,
            "checksums": checked.checksums,
            "dataFiles": checked.data_files,
            "vectors": checked.vectors,
            "rows": checked.rows,
        },
    })
}

/// A paragraph a finding.
fn people(report: &Report) -> Result<()> {
    for it in report.findings() {
        let (severity, code) = (it.severity, it.code);
        output::line(&format!("{severity}: {}: {} [{code}]", plain(&it.place), plain(&it.what)))?;
        output::line(&format!("  what to do: {}", it.advice))?;
    }
    let unsaid = report.found().saturating_sub(report.findings().len() as u64);
    if 0 < unsaid {
        output::line(&format!("and {unsaid} more"))?;
    }
    let it = report.checked();
    let version = report.version().map_or("none".to_string(), |it| it.to_string());
    output::line(&format!(
        "newest version {version}; looked at {} commits, {} checkpoints, {} compacted files, {} \
         checksums, {} data files, {} deletion vectors, {} rows",
        it.commits, it.checkpoints, it.compacted, it.checksums, it.data_files, it.vectors, it.rows
    ))?;
    if report.is_sound() {
        output::line("nothing is wrong")?;
    }
    Ok(())
}

/// The error of the command, by the first finding that an error's code can say.
fn verdict(report: &Report) -> Error {
    let known = |it: &Finding| Code::ALL.iter().find(|code| code.as_str() == it.code).copied();
    let (notes, faults): (Vec<_>, Vec<_>) =
        report.findings().iter().partition(|it| it.severity == Severity::Note);
    let codes = faults.into_iter().filter_map(known);
    let corrupt = codes.into_iter().find(|it| it.kind() == lakebed::ErrorKind::Corrupt);
    let found = report.found().saturating_sub(notes.len() as u64);
    let (word, what) = match (report.worst(), found) {
        (Some(Severity::Error), 1) => ("error", "something is wrong with the table".to_string()),
        (Some(Severity::Error), _) => ("error", format!("{found} things are wrong with the table")),
        (_, 1) => ("warning", "something is broken and is stepped around".to_string()),
        _ => ("warning", format!("{found} things are broken and are stepped around")),
    };
    // The code would advise what fits one finding only, or none.
    let advised = Advised(word, "what to do stands with each finding; notes need nothing");
    Error::new(corrupt.unwrap_or(Code::CorruptLog), what).with_payload(advised)
}
