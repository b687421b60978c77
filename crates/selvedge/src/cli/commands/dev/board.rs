//! What the world looks like: a table of its nodes, drawn again in place on a terminal, and printed when something
//! other than counts changed elsewhere.

use super::visitors::Counted;
use crate::cli::Table;
use rustix::termios::tcgetwinsize;
use std::io::{self, IsTerminal, Write};

/// A node, as it is shown.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Row {
    /// The keys that kill it and cut its PoP off; none where there are no keys.
    pub(super) keys: String,
    /// Its name.
    pub(super) name: String,
    /// Its PoP.
    pub(super) pop: String,
    /// How it is.
    pub(super) state: String,
    /// What it does in the control group.
    pub(super) control: String,
    /// Where it answers.
    pub(super) http: String,
    /// The round trip to it, as another node measures it.
    pub(super) round_trip: String,
    /// What its visitors were answered.
    pub(super) counted: Counted,
}

/// All that is shown.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Board {
    /// The node that was asked.
    pub(super) seen_by: String,
    /// The nodes.
    pub(super) rows: Vec<Row>,
}

impl Board {
    /// The table.
    pub(super) fn table(&self) -> Table {
        let keys = self.rows.iter().any(|row| !row.keys.is_empty());
        let mut table = if keys { Table::new().column("KEYS") } else { Table::new() };
        table = table.column("NODE").column("POP").column("STATE").column("CONTROL");
        table = table.column("HTTP").number(match self.seen_by.as_str() {
            "" => "RTT".to_owned(),
            name => format!("RTT FROM {name}"),
        });
        table = table.number("ANSWERED").number("ELSEWHERE").number("FAILED");
        for row in &self.rows {
            let Row { keys: pressed, name, pop, state, control, http, round_trip, counted } = row.clone();
            let Counted { near, elsewhere, failed } = counted;
            let counts = [near, elsewhere, failed].map(|count| count.to_string());
            let of_node = [name, pop, state, control, http, round_trip];
            table.row(keys.then_some(pressed).into_iter().chain(of_node).chain(counts));
        }
        table
    }

    /// What of it is worth telling when it changes.
    fn news(&self) -> Vec<(String, String, String)> {
        let news = |row: &Row| (row.name.clone(), row.state.clone(), row.control.clone());
        self.rows.iter().map(news).collect()
    }
}

/// Standard error: what is said stays, and the board stands below it.
#[derive(Debug)]
pub(super) struct Screen {
    terminal: bool,
    colour: bool,
    drawn: usize,
    board: Board,
}

impl Screen {
    /// Nothing is drawn yet.
    pub(super) fn new() -> Self {
        let terminal = io::stderr().is_terminal();
        let colour = terminal && std::env::var_os("NO_COLOR").is_none_or(|v| v.is_empty());
        Screen { terminal, colour, drawn: 0, board: Board::default() }
    }

    /// Says something that stays, above the board.
    pub(super) fn say(&mut self, text: &str) {
        self.erase();
        write(&format!("{}\n", text.trim_end_matches('\n')));
        if self.drawn > 0 {
            self.draw_here();
        }
    }

    /// Shows how it is now.
    pub(super) fn show(&mut self, board: Board) {
        let is_news = board.news() != self.board.news();
        self.board = board;
        if self.terminal {
            self.erase();
            self.draw_here();
        } else if is_news {
            write(&format!("\n{}", self.board.table().render(false, false)));
        }
    }

    /// Leaves the board where it is.
    pub(super) fn leave(&mut self) {
        self.drawn = 0;
    }

    fn erase(&self) {
        if self.drawn > 0 {
            write(&format!("\x1b[{}A\x1b[J", self.drawn));
        }
    }

    fn draw_here(&mut self) {
        let width = tcgetwinsize(io::stderr()).map_or(0, |size| usize::from(size.ws_col));
        let table = format!("\n{}", self.board.table().render(false, false));
        let lines: Vec<String> = table.lines().map(|line| cut(line, width)).collect();
        self.drawn = lines.len();
        let bold = |(n, line): (usize, String)| match n == 1 && self.colour {
            true => format!("\x1b[1m{line}\x1b[0m\n"),
            false => line + "\n",
        };
        write(&lines.into_iter().enumerate().map(bold).collect::<String>());
    }
}

/// A line that does not go on in the next one.
fn cut(line: &str, width: usize) -> String {
    if width == 0 { line.to_owned() } else { line.chars().take(width).collect() }
}

fn write(text: &str) {
    // Whoever closed standard error does not want to see it.
    let _ = io::stderr().lock().write_all(text.as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_says_who_answers_for_a_node_that_is_gone() {
        let row = |name: &str, state: &str, near, elsewhere| Row {
            name: name.into(),
            pop: name.into(),
            state: state.into(),
            counted: Counted { near, elsewhere, failed: 0 },
            ..Row::default()
        };
        let rows = vec![row("ams", "alive", 120, 0), row("fra", "killed", 80, 40)];
        let board = Board { seen_by: "ams".into(), rows };
        let text = board.table().render(false, false);
        let lines: Vec<&str> = text.lines().collect();
        assert!(lines[0].contains("RTT FROM ams"), "{text}");
        assert!(lines[2].contains("killed") && lines[2].ends_with("80         40       0"), "{text}");
    }

    #[test]
    fn counts_alone_are_no_news() {
        let board = |state: &str, near| Board {
            seen_by: String::new(),
            rows: vec![Row {
                state: state.into(),
                counted: Counted { near, ..Counted::default() },
                ..Row::default()
            }],
        };
        assert_eq!(board("alive", 1).news(), board("alive", 2).news());
        assert_ne!(board("alive", 1).news(), board("killed", 1).news());
    }
}
