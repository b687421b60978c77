//! `selvedge requests --follow`

use crate::cli::client::{ApiArgs, Client};
use crate::cli::lines::Lines;
use crate::cli::print::Format;
use crate::cli::units::bytes;
use crate::cli::{Exit, Failure, Output};
use clap::Args;
use serde_json::Value;

/// The longest line that is understood, in bytes.
const LINE_BYTES_MAX: usize = 1 << 20;

/// What `requests` takes.
#[derive(Debug, Args)]
pub struct RequestsArgs {
    /// Show requests as they are answered, until interrupted
    #[arg(short, long, required = true)]
    pub follow: bool,
    /// Stop after that many
    #[arg(short = 'n', long, value_name = "COUNT")]
    pub count: Option<u64>,
    /// Which API to ask.
    #[command(flatten)]
    pub api: ApiArgs,
}

/// Prints each request: a line for people, or the JSON object as it is in the access log.
pub(super) fn run(output: Output, args: &RequestsArgs) -> Result<Exit, Failure> {
    let client = Client::find(&args.api)?;
    let mut lines = Lines::new(LINE_BYTES_MAX);
    let mut left = args.count.unwrap_or(u64::MAX);
    let end = client.stream("/v1/requests", |piece| {
        for line in lines.push(piece)? {
            if left == 0 {
                break;
            }
            left -= u64::from(print(output, &line)?);
        }
        Ok(left > 0)
    })?;
    end.stopped()
}

/// Prints a line; says whether it was a request.
fn print(output: Output, line: &str) -> Result<bool, Failure> {
    let value: Value = serde_json::from_str(line)
        .map_err(|e| Failure::failed("the API sent a line that is no JSON object").because(e))?;
    if let Some(missed) = value.get("missed") {
        eprintln!("{missed} requests came too fast to be shown");
        return Ok(false);
    }
    match output.format {
        Format::Json => output.text(&format!("{line}\n"))?,
        Format::Yaml => output.print(&[&value], |_| Default::default())?,
        Format::Table | Format::Wide => {
            output.text(&format!("{}\n", describe(&value, output.format == Format::Wide)))?
        }
    };
    Ok(true)
}

/// One request in a line: when, who, what, the answer, its size, how long, and what the cache did.
fn describe(request: &Value, wide: bool) -> String {
    let text = |key: &str| match request.get(key) {
        Some(Value::String(text)) => {
            text.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
        }
        Some(Value::Null) | None => "-".to_owned(),
        Some(other) => other.to_string(),
    };
    let number = |key: &str| request.get(key).and_then(Value::as_f64).unwrap_or(0.0);
    let time = text("time");
    let clock = time.split_once('T').map_or(time.as_str(), |(_, clock)| clock);
    let mut line = format!(
        "{clock}  {}  {:<15}  {} {}{}  {}  {:.1}ms  {}",
        text("status"),
        text("client"),
        text("method"),
        text("host"),
        text("uri"),
        bytes(number("bytes") as u64),
        number("took_ms"),
        text("cache"),
    );
    if request.get("error").is_some() {
        line.push_str(&format!("  {}", text("error")));
    }
    if wide {
        line.push_str(&format!("  {}  {}  {:?}", text("site"), text("version"), text("user_agent")));
        line.push_str(&format!("  {}  {}", text("origin"), text("origin_ms")));
        if request.get("detail").is_some() {
            line.push_str(&format!("  {}", text("detail")));
        }
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_request_is_a_line() {
        let request = json!({
            "time": "2026-01-02T03:04:05.678Z", "status": 200, "client": "192.0.2.1", "method": "GET",
            "host": "a.b", "uri": "/c?d", "bytes": 2048, "took_ms": 1.25, "cache": "hit",
        });
        let expected = "03:04:05.678Z  200  192.0.2.1        GET a.b/c?d  2.0 KiB  1.2ms  hit";
        assert_eq!(describe(&request, false), expected);
        let mut failed = request;
        for (key, value) in [
            ("error", json!("connection_refused")),
            ("origin", json!("192.0.2.7:80")),
            ("detail", json!("refused")),
        ] {
            failed[key] = value;
        }
        assert_eq!(describe(&failed, false), format!("{expected}  connection_refused"));
        let wide = describe(&failed, true);
        assert!(wide.contains("  192.0.2.7:80  -  refused"), "{wide}");
    }
}
