//! The corpus of desynchronising requests: what is ambiguous is refused, what is compliant is taken.

use selvedge_http1::{Limits, Progress, RequestError, RequestHead, parse_request};
use std::path::PathBuf;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verdict {
    Pass,
    Either,
    Refuse,
}

fn parse(wire: &[u8]) -> Result<RequestHead, RequestError> {
    let parsed = parse_request(wire, &mut Progress::default(), &Limits::DEFAULT)?;
    Ok(parsed.expect("a head with its empty line is complete").0)
}

fn check(verdict: Verdict, wire: &[u8], whence: &str) {
    let shown = String::from_utf8_lossy(wire);
    match (verdict, parse(wire)) {
        (Verdict::Pass, Err(error)) => panic!("{whence}: refused ({error}) but compliant:\n{shown}"),
        (Verdict::Refuse, Ok(head)) => panic!("{whence}: taken as {head:?} but must be refused:\n{shown}"),
        (Verdict::Refuse, Err(error)) => {
            assert_eq!(error.status().code(), 400, "{whence}: {error}\n{shown}");
        }
        _ => {}
    }
}

fn unescape(text: &str) -> Vec<u8> {
    let mut parts = text.split("\\x");
    let mut bytes = parts.next().unwrap_or_default().as_bytes().to_vec();
    for part in parts {
        let (hex, rest) = part.split_at(2);
        bytes.push(u8::from_str_radix(hex, 16).unwrap());
        bytes.extend_from_slice(rest.as_bytes());
    }
    bytes
}

fn request(line: &[u8], fields: impl IntoIterator<Item = Vec<u8>>) -> Vec<u8> {
    let mut wire = line.to_vec();
    wire.extend_from_slice(b"\r\nHost: a.example\r\n");
    for field in fields {
        wire.extend_from_slice(&field);
        wire.extend_from_slice(b"\r\n");
    }
    wire.extend_from_slice(b"\r\n");
    wire
}

#[test]
fn every_request_of_the_table_gets_its_verdict() {
    let table = include_str!("data/desync.txt");
    let rows: Vec<&str> = table.lines().filter(|l| !l.is_empty() && !l.starts_with('#')).collect();
    assert!(rows.len() > 80);
    for row in rows {
        let mut columns = row.split(" | ");
        let verdict = match columns.next() {
            Some("pass") => Verdict::Pass,
            Some("either") => Verdict::Either,
            Some("refuse") => Verdict::Refuse,
            other => panic!("unknown verdict {other:?}"),
        };
        let line = unescape(columns.next().unwrap());
        check(verdict, &request(&line, columns.map(unescape)), row);
    }
}

/// The corpus itself, where it is at hand: `SELVEDGE_SHARED` or `../shared` beside the repository.
#[test]
fn every_request_of_the_corpus_gets_its_verdict() {
    let shared = std::env::var_os("SELVEDGE_SHARED")
        .map(PathBuf::from)
        .unwrap_or_else(|| PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../../shared")));
    let Ok(files) = std::fs::read_dir(shared.join("data/http-desync")) else {
        eprintln!("skipped: no {}/data/http-desync (set SELVEDGE_SHARED)", shared.display());
        return;
    };
    let mut cases = 0;
    for file in files {
        let path = file.unwrap().path();
        for case in corpus(&std::fs::read_to_string(&path).unwrap()) {
            check(case.verdict, &case.wire, &format!("{}: {}", path.display(), case.name));
            cases += 1;
        }
    }
    assert_eq!(cases, 103, "the corpus has changed, or is read wrongly");
}

struct Case {
    name: String,
    verdict: Verdict,
    wire: Vec<u8>,
}

/// Reads the little YAML the corpus uses: one `key: scalar` a line.
fn corpus(text: &str) -> Vec<Case> {
    let starts = |line: &&str| line.starts_with("- name:");
    let mut cases = Vec::new();
    let mut lines = text.lines().skip_while(|l| !starts(l)).peekable();
    while let Some(first) = lines.next() {
        let name = scalar(first);
        let mut block = Vec::new();
        while let Some(line) = lines.next_if(|l| !starts(l)) {
            block.push(line.trim());
        }
        cases.push(case(name, &block));
    }
    cases
}

fn case(name: String, block: &[&str]) -> Case {
    let (mut line, mut fields, mut verdict) =
        ([String::new(), String::new(), String::new()], Vec::new(), None);
    let mut in_expected = false;
    for text in block {
        match text.split_once(':').map_or("", |(key, _)| key) {
            "method" => line[0] = scalar(text),
            "uri" => line[1] = scalar(text),
            "version" => line[2] = scalar(text),
            "- name" => fields.push((scalar(text), String::new())),
            "value" => fields.last_mut().unwrap().1 = scalar(text),
            "expected" => in_expected = true,
            "tier" if in_expected => verdict = Some(scalar(text)),
            _ => {}
        }
    }
    let verdict = match verdict.as_deref() {
        Some("Compliant") => Verdict::Pass,
        Some("Acceptable") => Verdict::Either,
        Some("Ambiguous" | "Severe") => Verdict::Refuse,
        other => panic!("{name}: unknown tier {other:?}"),
    };
    let fields = fields.into_iter().map(|(name, value)| format!("{name}: {value}").into_bytes());
    Case { wire: request(line.join(" ").trim_end().as_bytes(), fields), name, verdict }
}

/// The value of `key: value`, unquoted; double quotes know `\xNN`, `\t` and `\r`.
fn scalar(line: &str) -> String {
    let value = line.trim().trim_start_matches("- ").split_once(':').unwrap().1.trim();
    let quoted = |mark: char| value.strip_prefix(mark).and_then(|v| v.strip_suffix(mark));
    if let Some(plain) = quoted('\'') {
        return plain.replace("''", "'");
    }
    let Some(escaped) = quoted('"') else {
        return value.to_owned();
    };
    let mut text = String::new();
    let mut chars = escaped.chars();
    while let Some(c) = chars.next() {
        match (c, if c == '\\' { chars.next() } else { None }) {
            ('\\', Some('x')) => {
                let hex: String = chars.by_ref().take(2).collect();
                text.push(u8::from_str_radix(&hex, 16).unwrap() as char);
            }
            ('\\', Some('t')) => text.push('\t'),
            ('\\', Some('r')) => text.push('\r'),
            ('\\', Some(other)) => text.push(other),
            _ => text.push(c),
        }
    }
    text
}
