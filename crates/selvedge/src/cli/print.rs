//! Data on standard output, in the form that was asked for.

use super::yaml;
use super::{Exit, Failure};
use clap::ValueEnum;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use serde::Serialize;
use std::io::{self, ErrorKind, IsTerminal, Write};

/// The form of printed data.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub enum Format {
    /// Columns for people.
    #[default]
    Table,
    /// As table, with more columns.
    Wide,
    /// JSON.
    Json,
    /// YAML.
    Yaml,
}

/// Where data goes, and how.
#[derive(Debug, Clone, Copy)]
pub struct Output {
    /// The form.
    pub format: Format,
    /// Whether bold and colours may be used.
    pub colour: bool,
}

/// Columns and rows of text.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Table {
    columns: Vec<Column>,
    rows: Vec<Vec<String>>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Column {
    title: String,
    right: bool,
    wide: bool,
}

impl Output {
    /// Output in `format`; colours only on a terminal and without `NO_COLOR`.
    pub fn new(format: Format) -> Self {
        let wanted = std::env::var_os("NO_COLOR").is_none_or(|v| v.is_empty());
        Output { format, colour: wanted && io::stdout().is_terminal() }
    }

    /// Prints `data`: as it is in JSON and YAML, by `table` otherwise.
    pub fn print<T: Serialize>(&self, data: &T, table: impl FnOnce(&T) -> Table) -> Result<Exit, Failure> {
        let text = match self.format {
            Format::Table | Format::Wide => table(data).render(self.format == Format::Wide, self.colour),
            Format::Json => to_json(data)? + "\n",
            Format::Yaml => yaml::to_string(&serde_json::to_value(data).map_err(unprintable)?),
        };
        self.text(&text)
    }

    /// Prints text as it is.
    pub fn text(&self, text: &str) -> Result<Exit, Failure> {
        let mut out = io::stdout().lock();
        match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
            // Whoever read it has seen enough.
            Err(e) if e.kind() == ErrorKind::BrokenPipe => Ok(Exit::Done),
            Err(e) => Err(Failure::failed("cannot write to standard output").because(e)),
            Ok(()) => Ok(Exit::Done),
        }
    }
}

/// Whether somebody may still read what is printed: not when standard output is a pipe whose other end was closed.
pub(super) fn is_read() -> bool {
    let stdout = io::stdout();
    let mut asked = [PollFd::new(&stdout, PollFlags::empty())];
    let now = Timespec { tv_sec: 0, tv_nsec: 0 };
    // What cannot be asked is read.
    !matches!(poll(&mut asked, Some(&now)), Ok(1..)) || !asked[0].revents().contains(PollFlags::ERR)
}

impl Table {
    /// A table without columns.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a column of text.
    pub fn column(self, title: impl Into<String>) -> Self {
        self.add(title, false, false)
    }

    /// Adds a column of numbers, aligned at the right.
    pub fn number(self, title: impl Into<String>) -> Self {
        self.add(title, true, false)
    }

    /// Adds a column of text that only the wide form shows.
    pub fn wide(self, title: impl Into<String>) -> Self {
        self.add(title, false, true)
    }

    /// Adds a row: one cell for each column, the wide ones too.
    pub fn row<C: Into<String>>(&mut self, cells: impl IntoIterator<Item = C>) {
        self.rows.push(cells.into_iter().map(Into::into).collect());
    }

    /// The table as text. Columns are two spaces apart; an empty cell is a dash.
    pub fn render(&self, wide: bool, colour: bool) -> String {
        let shown: Vec<usize> =
            self.columns.iter().enumerate().filter(|(_, c)| wide || !c.wide).map(|(i, _)| i).collect();
        let widths: Vec<usize> = shown.iter().map(|i| self.width(*i)).collect();
        let mut out = String::new();
        let titles: Vec<&str> = self.columns.iter().map(|c| c.title.as_str()).collect();
        let head = self.line(&shown, &widths, |i| titles.get(i).copied().unwrap_or_default());
        if !titles.iter().all(|t| t.is_empty()) {
            out.push_str(&if colour { format!("\x1b[1m{head}\x1b[0m\n") } else { head + "\n" });
        }
        for row in &self.rows {
            out.push_str(&self.line(&shown, &widths, |i| row.get(i).map_or("", String::as_str)));
            out.push('\n');
        }
        out
    }

    fn add(mut self, title: impl Into<String>, right: bool, wide: bool) -> Self {
        self.columns.push(Column { title: title.into(), right, wide });
        self
    }

    fn width(&self, column: usize) -> usize {
        let title = self.columns.get(column).map_or(0, |c| c.title.len());
        let cells = self.rows.iter().filter_map(|r| r.get(column)).map(|c| shown_cell(c).chars().count());
        cells.max().unwrap_or(0).max(title)
    }

    fn line<'a>(&'a self, shown: &[usize], widths: &[usize], cell: impl Fn(usize) -> &'a str) -> String {
        let mut line = String::new();
        for (at, (i, width)) in shown.iter().zip(widths).enumerate() {
            let text = shown_cell(cell(*i));
            let pad = " ".repeat(width.saturating_sub(text.chars().count()));
            let right = self.columns.get(*i).is_some_and(|c| c.right);
            let (before, after) = if right { (pad.as_str(), "") } else { ("", pad.as_str()) };
            let gap = if at == 0 { "" } else { "  " };
            line.push_str(&format!("{gap}{before}{text}{after}"));
        }
        line.truncate(line.trim_end().len());
        line
    }
}

fn shown_cell(text: &str) -> String {
    if text.is_empty() {
        return "-".to_owned();
    }
    // What came from elsewhere must not steer the terminal.
    text.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
}

fn to_json<T: Serialize>(data: &T) -> Result<String, Failure> {
    serde_json::to_string_pretty(data).map_err(unprintable)
}

fn unprintable(e: serde_json::Error) -> Failure {
    Failure::failed("cannot print the result").because(e)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table() -> Table {
        let mut table = Table::new().column("NAME").number("HITS").wide("ORIGIN");
        table.row(["docs", "12", "a"]);
        table.row(["a-long-name", "3456", ""]);
        table
    }

    #[test]
    fn columns_are_aligned_and_wide_ones_only_shown_when_asked_for() {
        assert_eq!(table().render(false, false), "NAME         HITS\ndocs           12\na-long-name  3456\n");
        assert_eq!(
            table().render(true, false),
            "NAME         HITS  ORIGIN\ndocs           12  a\na-long-name  3456  -\n"
        );
    }

    #[test]
    fn cells_cannot_steer_the_terminal() {
        let mut table = Table::new().column("X");
        table.row(["\x1b[2Jboo"]);
        assert_eq!(table.render(false, false), "X\n\u{fffd}[2Jboo\n");
    }
}
