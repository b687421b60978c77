//! The forms of a line: JSON, and the combined format of Apache and nginx.

use super::record::Record;
use selvedge_cache::semantics::decimal::push_decimal;
use selvedge_exchange::Fetched;
use selvedge_types::calendar::Date;
use selvedge_types::resource::LogFormat;
use std::io::Write;
use std::time::Duration;

/// Forms lines. Remembers how the last second is written.
#[derive(Default)]
pub(super) struct Lines {
    second: Option<u64>,
    /// `2024-02-29T12:34:56`
    rfc3339: String,
    /// `29/Feb/2024:12:34:56 +0000`
    clf: String,
}

impl Lines {
    /// Appends the record's line, with its line feed.
    pub(super) fn push(&mut self, record: &Record, format: LogFormat, out: &mut Vec<u8>) {
        self.turn_to(record.received.secs());
        // Writing to memory does not fail.
        let _ = match format {
            LogFormat::Json => self.push_json(record, out),
            LogFormat::Combined => self.push_combined(record, out),
        };
        out.push(b'\n');
    }

    fn turn_to(&mut self, second: u64) {
        if self.second != Some(second) {
            let date = Civil::of(second);
            (self.second, self.rfc3339, self.clf) = (Some(second), date.rfc3339(), date.clf());
        }
    }

    fn push_json(&self, record: &Record, out: &mut Vec<u8>) -> std::io::Result<()> {
        push_all(out, &["{\"time\":\"", &self.rfc3339, "."]);
        push_padded(record.received.0 % 1000, out);
        write!(out, "Z\",\"client\":\"{}\"", record.client)?;
        if let Some(site) = &record.site {
            push_member("site", site.as_bytes(), out);
        }
        if let Some(id) = &record.id {
            write!(out, ",\"id\":\"{id}\"")?;
        }
        push_member("method", record.method.as_str().as_bytes(), out);
        push_all(out, &[",\"scheme\":\"", record.scheme.as_str(), "\""]);
        push_member("host", record.authority(), out);
        push_member("uri", record.target(), out);
        push_all(out, &[",\"version\":\"", record.version.as_str(), "\",\"status\":"]);
        push_decimal(out, u64::from(record.status));
        push_all(out, &[",\"bytes\":"]);
        push_decimal(out, record.sent.body_bytes);
        push_all(out, &[if record.sent.complete { ",\"complete\":true" } else { ",\"complete\":false" }]);
        push_millis("took_ms", record.took, out);
        push_all(out, &[",\"cache\":\"", record.source.as_str(), "\""]);
        if let Some(refusal) = record.refusal {
            push_all(out, &[",\"refused\":\"", refusal.as_str(), "\""]);
        }
        if let Some(fetched) = &record.fetched {
            push_fetched(fetched, out);
        }
        if let Some(referer) = record.referer() {
            push_member("referer", referer, out);
        }
        if let Some(agent) = record.user_agent() {
            push_member("user_agent", agent, out);
        }
        out.write_all(b"}")
    }

    fn push_combined(&self, record: &Record, out: &mut Vec<u8>) -> std::io::Result<()> {
        write!(out, "{} - - [{}] \"", record.client, self.clf)?;
        push_escaped(record.method.as_str().as_bytes(), out)?;
        out.push(b' ');
        push_escaped(record.target(), out)?;
        push_all(out, &[" ", record.version.as_str(), "\" "]);
        push_decimal(out, u64::from(record.status));
        out.push(b' ');
        push_decimal(out, record.sent.body_bytes);
        push_all(out, &[" \""]);
        push_escaped(record.referer().unwrap_or(b"-"), out)?;
        push_all(out, &["\" \""]);
        push_escaped(record.user_agent().unwrap_or(b"-"), out)?;
        out.write_all(b"\"")
    }
}

/// What came of asking an origin.
fn push_fetched(fetched: &Fetched, out: &mut Vec<u8>) {
    if let Some(trouble) = &fetched.trouble {
        push_all(out, &[",\"error\":\"", trouble.error, "\""]);
        push_member("detail", trouble.detail.as_bytes(), out);
    }
    if let Some(endpoint) = &fetched.endpoint {
        push_member("origin", endpoint.as_bytes(), out);
    }
    if let Some(first_byte) = fetched.first_byte {
        push_millis("origin_ms", first_byte, out);
    }
    if fetched.attempts > 1 {
        push_all(out, &[",\"attempts\":"]);
        push_decimal(out, u64::from(fetched.attempts));
    }
}

/// A number of milliseconds with three decimals.
fn push_millis(name: &str, time: Duration, out: &mut Vec<u8>) {
    push_all(out, &[",\"", name, "\":"]);
    push_decimal(out, u64::try_from(time.as_millis()).unwrap_or(u64::MAX));
    out.push(b'.');
    push_padded(u64::from(time.subsec_micros() % 1000), out);
}

fn push_all(out: &mut Vec<u8>, texts: &[&str]) {
    texts.iter().for_each(|text| out.extend_from_slice(text.as_bytes()));
}

/// Three digits.
fn push_padded(n: u64, out: &mut Vec<u8>) {
    out.extend([100, 10, 1].map(|place| b'0' + (n / place % 10) as u8));
}

fn push_member(name: &str, value: &[u8], out: &mut Vec<u8>) {
    push_all(out, &[",\"", name, "\":\""]);
    for piece in value.utf8_chunks() {
        push_json_text(piece.valid().as_bytes(), out);
        if !piece.invalid().is_empty() {
            push_all(out, &["\u{fffd}"]);
        }
    }
    out.push(b'"');
}

fn push_json_text(text: &[u8], out: &mut Vec<u8>) {
    let is_special = |b: &u8| matches!(b, b'"' | b'\\' | 0..0x20 | 0x7f);
    let mut rest = text;
    while let Some(at) = rest.iter().position(is_special) {
        let (plain, special) = rest.split_at(at);
        out.extend_from_slice(plain);
        match special {
            [b @ (b'"' | b'\\'), ..] => out.extend([b'\\', *b]),
            [b, ..] => push_all(out, &[&format!("\\u{b:04x}")]),
            [] => {}
        }
        rest = special.get(1..).unwrap_or_default();
    }
    out.extend_from_slice(rest);
}

/// As nginx and Apache do: what could be taken for the line's own marks is written `\xHH`.
fn push_escaped(text: &[u8], out: &mut Vec<u8>) -> std::io::Result<()> {
    let is_special = |b: &u8| matches!(b, b'"' | b'\\' | 0..0x20 | 0x7f..);
    let mut rest = text;
    while let Some(at) = rest.iter().position(is_special) {
        let (plain, special) = rest.split_at(at);
        out.extend_from_slice(plain);
        if let [b, tail @ ..] = special {
            write!(out, "\\x{b:02X}")?;
            rest = tail;
        }
    }
    out.write_all(rest)
}

/// A time in the calendar, UTC.
struct Civil {
    date: Date,
    second_of_day: u64,
}

impl Civil {
    fn of(second: u64) -> Self {
        Civil { date: Date::from_days(second / 86_400), second_of_day: second % 86_400 }
    }

    fn clock(&self) -> String {
        let s = self.second_of_day;
        format!("{:02}:{:02}:{:02}", s / 3600, s / 60 % 60, s % 60)
    }

    fn rfc3339(&self) -> String {
        let Date { year, month, day } = self.date;
        format!("{year:04}-{month:02}-{day:02}T{}", self.clock())
    }

    fn clf(&self) -> String {
        let Date { year, day, .. } = self.date;
        format!("{day:02}/{}/{year:04}:{} +0000", self.date.month_name(), self.clock())
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::record;
    use super::*;
    use proptest::prelude::*;
    use selvedge_exchange::Trouble;
    use std::sync::Arc;

    fn line(format: LogFormat) -> String {
        let mut out = Vec::new();
        Lines::default().push(&record(), format, &mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn the_combined_form() {
        assert_eq!(
            line(LogFormat::Combined),
            "192.0.2.1 - - [29/Feb/2024:12:34:56 +0000] \"GET /a?b=\\x22 HTTP/1.1\" 200 1234 \"-\" \"curl \\x5Cx\"\n"
        );
    }

    #[test]
    fn the_json_form() {
        let line = line(LogFormat::Json);
        let json: serde_json::Value = serde_json::from_str(&line).unwrap();
        let expected = serde_json::json!({
            "time": "2024-02-29T12:34:56.789Z", "client": "192.0.2.1", "method": "GET", "scheme": "https",
            "host": "a.example", "uri": "/a?b=\"", "version": "HTTP/1.1", "status": 200, "bytes": 1234,
            "complete": true, "took_ms": 12.345, "cache": "hit", "user_agent": "curl \\x",
        });
        assert_eq!(json, expected);
    }

    #[test]
    fn the_json_form_says_what_came_of_asking_the_origin() {
        let trouble = Trouble { error: "connection_refused", detail: "connecting: \"refused\"".into() };
        let mut record = record();
        record.fetched = Some(Arc::new(Fetched {
            endpoint: Some("a.example (192.0.2.7:80)".into()),
            first_byte: Some(Duration::from_micros(1_500)),
            attempts: 2,
            trouble: Some(trouble),
        }));
        let mut out = Vec::new();
        Lines::default().push(&record, LogFormat::Json, &mut out);
        let json: serde_json::Value = serde_json::from_slice(&out).unwrap();
        for (key, expected) in [
            ("error", serde_json::json!("connection_refused")),
            ("detail", serde_json::json!("connecting: \"refused\"")),
            ("origin", serde_json::json!("a.example (192.0.2.7:80)")),
            ("origin_ms", serde_json::json!(1.5)),
            ("attempts", serde_json::json!(2)),
        ] {
            assert_eq!(json[key], expected, "{key}");
        }
    }

    #[test]
    fn days_of_the_calendar() {
        for (secs, expected) in [
            (0, "1970-01-01T00:00:00"),
            (951_782_400, "2000-02-29T00:00:00"),
            (1_735_689_599, "2024-12-31T23:59:59"),
            (4_107_542_400, "2100-03-01T00:00:00"),
        ] {
            assert_eq!(Civil::of(secs).rfc3339(), expected);
        }
    }

    proptest! {
        #[test]
        fn any_bytes_give_one_line_of_valid_json(value in prop::collection::vec(any::<u8>(), 0..50)) {
            let mut out = b"{\"a\":1".to_vec();
            push_member("x", &value, &mut out);
            out.push(b'}');
            prop_assert!(!out.contains(&b'\n'));
            serde_json::from_slice::<serde_json::Value>(&out).unwrap();
            let mut combined = Vec::new();
            push_escaped(&value, &mut combined).unwrap();
            prop_assert!(combined.iter().all(|b| (0x20..0x7f).contains(b) && *b != b'"'));
        }
    }
}
