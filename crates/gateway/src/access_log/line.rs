//! The forms of a line: JSON, and the combined format of Apache and nginx.

use super::record::Record;
use selvedge_types::UnixMillis;
use selvedge_types::resource::LogFormat;
use std::io::Write;

/// Appends the record's line, with its line feed.
pub(super) fn push_line(record: &Record, format: LogFormat, out: &mut Vec<u8>) {
    // Writing to memory does not fail.
    let _ = match format {
        LogFormat::Json => push_json(record, out),
        LogFormat::Combined => push_combined(record, out),
    };
    out.push(b'\n');
}

fn push_json(record: &Record, out: &mut Vec<u8>) -> std::io::Result<()> {
    let date = Civil::of(record.received);
    write!(out, "{{\"time\":\"{}\",\"client\":\"{}\"", date.rfc3339(), record.client)?;
    if let Some(site) = &record.site {
        push_member("site", site.as_bytes(), out)?;
    }
    if let Some(id) = &record.id {
        write!(out, ",\"id\":\"{id}\"")?;
    }
    push_member("method", record.method.as_str().as_bytes(), out)?;
    write!(out, ",\"scheme\":\"{}\"", record.scheme.as_str())?;
    push_member("host", record.authority(), out)?;
    push_member("uri", record.target(), out)?;
    write!(
        out,
        ",\"version\":\"{}\",\"status\":{},\"bytes\":{},\"complete\":{},\"took_ms\":{}.{:03},\"cache\":\"{}\"",
        record.version.as_str(),
        record.status,
        record.sent.body_bytes,
        record.sent.complete,
        record.took.as_millis(),
        record.took.subsec_micros() % 1000,
        record.source.as_str(),
    )?;
    if let Some(refusal) = record.refusal {
        write!(out, ",\"refused\":\"{}\"", refusal.as_str())?;
    }
    if let Some(referer) = record.referer() {
        push_member("referer", referer, out)?;
    }
    if let Some(agent) = record.user_agent() {
        push_member("user_agent", agent, out)?;
    }
    out.write_all(b"}")
}

fn push_member(name: &str, value: &[u8], out: &mut Vec<u8>) -> std::io::Result<()> {
    write!(out, ",\"{name}\":\"")?;
    for piece in value.utf8_chunks() {
        for c in piece.valid().chars() {
            match c {
                '"' | '\\' => out.extend([b'\\', c as u8]),
                '\u{0}'..='\u{1f}' | '\u{7f}' => write!(out, "\\u{:04x}", c as u32)?,
                c => out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes()),
            }
        }
        if !piece.invalid().is_empty() {
            out.extend_from_slice("\u{fffd}".as_bytes());
        }
    }
    out.write_all(b"\"")
}

fn push_combined(record: &Record, out: &mut Vec<u8>) -> std::io::Result<()> {
    write!(out, "{} - - [{}] \"", record.client, Civil::of(record.received).clf())?;
    push_escaped(record.method.as_str().as_bytes(), out)?;
    out.push(b' ');
    push_escaped(record.target(), out)?;
    write!(out, " {}\" {} {} \"", record.version.as_str(), record.status, record.sent.body_bytes)?;
    push_escaped(record.referer().unwrap_or(b"-"), out)?;
    out.extend_from_slice(b"\" \"");
    push_escaped(record.user_agent().unwrap_or(b"-"), out)?;
    out.write_all(b"\"")
}

/// As nginx and Apache do: what could be taken for the line's own marks is written `\xHH`.
fn push_escaped(text: &[u8], out: &mut Vec<u8>) -> std::io::Result<()> {
    text.iter().try_for_each(|b| match b {
        b'"' | b'\\' | 0..0x20 | 0x7f.. => write!(out, "\\x{b:02X}"),
        b => {
            out.push(*b);
            Ok(())
        }
    })
}

/// A time in the calendar, UTC.
struct Civil {
    year: u64,
    month: usize,
    day: u64,
    second_of_day: u64,
    millis: u64,
}

const MONTHS: [&str; 12] =
    ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];

impl Civil {
    /// Howard Hinnant's days-to-civil algorithm, for times since 1970.
    fn of(time: UnixMillis) -> Self {
        let days = time.secs() / 86_400 + 719_468;
        let (era, day_of_era) = (days / 146_097, days % 146_097);
        let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
        let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        let shifted = (5 * day_of_year + 2) / 153;
        let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
        Civil {
            year: year_of_era + era * 400 + u64::from(month <= 2),
            month: month as usize,
            day: day_of_year - (153 * shifted + 2) / 5 + 1,
            second_of_day: time.secs() % 86_400,
            millis: time.0 % 1000,
        }
    }

    fn clock(&self) -> String {
        let s = self.second_of_day;
        format!("{:02}:{:02}:{:02}", s / 3600, s / 60 % 60, s % 60)
    }

    fn rfc3339(&self) -> String {
        format!("{:04}-{:02}-{:02}T{}.{:03}Z", self.year, self.month, self.day, self.clock(), self.millis)
    }

    fn clf(&self) -> String {
        let month = self.month.checked_sub(1).and_then(|m| MONTHS.get(m)).unwrap_or(&"");
        format!("{:02}/{month}/{:04}:{} +0000", self.day, self.year, self.clock())
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::record;
    use super::*;
    use proptest::prelude::*;

    fn line(format: LogFormat) -> String {
        let mut out = Vec::new();
        push_line(&record(), format, &mut out);
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
    fn days_of_the_calendar() {
        for (secs, expected) in [
            (0, "1970-01-01T00:00:00.000Z"),
            (951_782_400, "2000-02-29T00:00:00.000Z"),
            (1_735_689_599, "2024-12-31T23:59:59.000Z"),
            (4_107_542_400, "2100-03-01T00:00:00.000Z"),
        ] {
            assert_eq!(Civil::of(UnixMillis::from_secs(secs)).rfc3339(), expected);
        }
    }

    proptest! {
        #[test]
        fn any_bytes_give_one_line_of_valid_json(value in prop::collection::vec(any::<u8>(), 0..50)) {
            let mut out = b"{\"a\":1".to_vec();
            push_member("x", &value, &mut out).unwrap();
            out.push(b'}');
            prop_assert!(!out.contains(&b'\n'));
            serde_json::from_slice::<serde_json::Value>(&out).unwrap();
            let mut combined = Vec::new();
            push_escaped(&value, &mut combined).unwrap();
            prop_assert!(combined.iter().all(|b| (0x20..0x7f).contains(b) && *b != b'"'));
        }
    }
}
