//! `selvedge events`

use crate::cli::client::{ApiArgs, Client, escape};
use crate::cli::lines::Lines;
use crate::cli::print::Format;
use crate::cli::{Exit, Failure, Output, Table};
use clap::Args;
use clap::builder::PossibleValuesParser;
use jiff::Timestamp;
use selvedge_control::wire::{EventInfo, EventLine, EventList, UnreachedNode};
use selvedge_types::event::KINDS;
use selvedge_types::resource::Period;

/// The longest line that is understood, in bytes.
const LINE_BYTES_MAX: usize = 1 << 20;
/// How many events are asked for at once.
const PAGE: usize = 1_000;
/// How many of the last events are shown unless it is said since when.
const LAST: usize = 100;

/// What `events` takes.
#[derive(Debug, Args)]
pub struct EventsArgs {
    /// Go on with what happens from now on, until interrupted
    #[arg(short, long)]
    pub follow: bool,
    /// Only what happened in that time before now, as in 10m
    #[arg(long, value_name = "TIME", value_parser = super::estimate::period)]
    pub since: Option<Period>,
    /// Only events of these kinds, separated by commas
    #[arg(short, long, value_name = "KIND", value_delimiter = ',', value_parser = PossibleValuesParser::new(KINDS), hide_possible_values = true)]
    pub kind: Vec<String>,
    /// Only what this node tells, or what is about it
    #[arg(long, value_name = "NAME")]
    pub node: Option<String>,
    /// Which API to ask.
    #[command(flatten)]
    pub api: ApiArgs,
}

/// Prints what happened in the cluster, and says who was not reached.
pub(super) fn run(output: Output, args: &EventsArgs) -> Result<Exit, Failure> {
    let client = Client::find(&args.api)?;
    let since = args.since.map(since);
    let found = list(&client, args, since)?;
    report(&found.unreached);
    if !args.follow {
        return output.print(&found.events, |events| table(events));
    }
    let mut printer = Printer { output, titled: false };
    found.events.iter().try_for_each(|event| printer.print(event))?;
    let after = found.events.last().map(|event| format!("after={}", event.at));
    let after = after.or_else(|| since.map(|ms| format!("since_ms={ms}")));
    let target = format!("/v1/events/follow?{}{}", after.unwrap_or_default(), filter(args));
    let mut lines = Lines::new(LINE_BYTES_MAX);
    let end = client.stream(&target, |piece| {
        for line in lines.push(piece)? {
            let line: EventLine = serde_json::from_str(&line)
                .map_err(|e| Failure::failed("the API sent a line that is not understood").because(e))?;
            report(&line.unreached.unwrap_or_default());
            line.event.iter().try_for_each(|event| printer.print(event))?;
        }
        Ok(true)
    })?;
    end.stopped()
}

/// What happened until now: all since a time, or the last [`LAST`].
fn list(client: &Client, args: &EventsArgs, since: Option<u64>) -> Result<EventList, Failure> {
    let filter = filter(args);
    let begin = since.map_or(format!("limit={LAST}"), |ms| format!("limit={PAGE}&since_ms={ms}"));
    let mut all: EventList = client.get(&format!("/v1/events?{begin}{filter}"))?;
    while since.is_some()
        && all.more
        && let Some(last) = all.events.last()
    {
        let next = format!("/v1/events?limit={PAGE}&after={}{filter}", last.at);
        let next: EventList = client.get(&next)?;
        all.events.extend(next.events);
        all.more = next.more;
    }
    Ok(all)
}

/// The filters as parameters of a URL that has some already.
fn filter(args: &EventsArgs) -> String {
    let mut text = String::new();
    if !args.kind.is_empty() {
        text.push_str(&format!("&kind={}", escape(&args.kind.join(","))));
    }
    if let Some(node) = &args.node {
        text.push_str(&format!("&node={}", escape(node)));
    }
    text
}

/// That time before now, in milliseconds since 1970.
fn since(time: Period) -> u64 {
    let now = u64::try_from(Timestamp::now().as_millisecond()).unwrap_or(0);
    now.saturating_sub(u64::try_from(time.get().as_millis()).unwrap_or(u64::MAX))
}

fn report(unreached: &[UnreachedNode]) {
    for UnreachedNode { name, why } in unreached {
        eprintln!("not reached: {name}: {why}");
    }
}

/// Prints events one after the other.
struct Printer {
    output: Output,
    titled: bool,
}

impl Printer {
    fn print(&mut self, event: &EventInfo) -> Result<(), Failure> {
        match self.output.format {
            Format::Json => {
                let line = serde_json::to_string(event)
                    .map_err(|e| Failure::failed("cannot print the result").because(e))?;
                self.output.text(&format!("{line}\n"))?;
            }
            Format::Yaml => {
                self.output.print(&[event], |_| Table::new())?;
            }
            Format::Table | Format::Wide => {
                let text =
                    lines(std::slice::from_ref(event)).render(self.output.format == Format::Wide, false);
                let text =
                    if self.titled { text.split_once('\n').map_or("", |(_, rest)| rest) } else { &text };
                self.output.text(text)?;
                self.titled = true;
            }
        }
        Ok(())
    }
}

fn titles() -> Table {
    Table::new()
        .column("TIME")
        .column("NODE")
        .column("KIND")
        .column("SUBJECT")
        .column("WHAT")
        .wide("TOLD BY")
        .wide("NAMESPACE")
        .wide("AT")
}

fn table(events: &[EventInfo]) -> Table {
    let mut table = titles();
    events.iter().for_each(|event| table.row(row(event)));
    table
}

/// As a table whose columns have a width of their own, since not all of it is known yet.
fn lines(events: &[EventInfo]) -> Table {
    let mut table = titles();
    for event in events {
        let [time, node, kind, subject, what, told, namespace, at] = row(event);
        let wide = |text: String, width: usize| format!("{text:<width$}");
        let dash = |text: String| if text.is_empty() { "-".to_owned() } else { text };
        table.row([time, wide(node, 12), wide(kind, 13), wide(dash(subject), 16), what, told, namespace, at]);
    }
    table
}

fn row(event: &EventInfo) -> [String; 8] {
    let others = event.nodes.len().saturating_sub(1);
    let node = if others == 0 { event.node.clone() } else { format!("{} +{others}", event.node) };
    [
        time(event.time_ms),
        node,
        event.kind.clone(),
        event.subject.clone(),
        event.text.clone(),
        event.nodes.join(","),
        event.namespace.clone().unwrap_or_default(),
        event.at.clone(),
    ]
}

/// A time in milliseconds since 1970, as RFC 3339 in UTC, with its milliseconds.
fn time(ms: u64) -> String {
    let time = i64::try_from(ms).ok().and_then(|ms| Timestamp::from_millisecond(ms).ok());
    time.map_or_else(|| format!("{ms} ms"), |time| format!("{time:.3}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event() -> EventInfo {
        EventInfo {
            at: "0190000000000001".into(),
            time_ms: 784_111_777_007,
            node: "ams-1".into(),
            nodes: vec!["ams-1".into(), "ams-2".into()],
            kind: "failed".into(),
            subject: "ams-3".into(),
            text: "is gone: it failed, or cannot be reached".into(),
            ..EventInfo::default()
        }
    }

    #[test]
    fn an_event_is_a_row() {
        let expected = "TIME                      NODE      KIND    SUBJECT  WHAT\n\
                        1994-11-06T08:49:37.007Z  ams-1 +1  failed  ams-3    is gone: it failed, or cannot be reached\n";
        assert_eq!(table(&[event()]).render(false, false), expected);
        let wide = table(&[event()]).render(true, false);
        assert!(wide.ends_with("ams-1,ams-2  -          0190000000000001\n"), "{wide}");
    }

    #[test]
    fn rows_that_come_one_by_one_are_aligned() {
        let mut other = event();
        (other.kind, other.subject) = ("clock-refused".into(), String::new());
        let column =
            |event: EventInfo| lines(&[event]).render(false, false).lines().nth(1).unwrap().find("is gone");
        assert_eq!(column(event()), column(other));
    }
}
