//! Who asks: visitors, and an operator who purges and applies through the API.

use super::client::{Answer, Ask, Client};
use super::history::{Asked, History, Scope, now};
use super::workload::{HOST, Kind, any_path, manifest, tag_of};
use super::{API_PORT, HTTP_PORT, NODE};
use crate::clock::SimClock;
use crate::run::Run;
use selvedge_rt::Rng;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// What visitors and operator share.
#[derive(Clone)]
pub(super) struct Visitors {
    pub(super) run: Run,
    pub(super) history: History,
    pub(super) node_clock: SimClock,
    /// The first token, once there is one.
    pub(super) token: Arc<Mutex<Option<String>>>,
}

/// What became of a call of the API.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Call {
    Done,
    Refused,
    Unknown,
}

impl Visitors {
    fn http(&self) -> SocketAddr {
        SocketAddr::new(turmoil::lookup(NODE), HTTP_PORT)
    }

    /// Asks for one path, and checks what comes.
    pub(super) async fn get(&self, client: &mut Client, who: &str, ask: &Ask<'_>) -> Option<Answer> {
        let (jumps, wall_ms) = (self.history.jumps(), self.node_clock.clock().wall().0);
        let asked = Asked { path: ask.path.to_owned(), at: now(), wall_ms, jumps };
        match client.ask(ask).await {
            Ok(answer) => {
                let lines = ask.lines.trim_end();
                self.run.trace.line(who, format_args!("{} {lines}: {}", ask.path, answer.describe()));
                self.history.judge(&self.run, &asked, &answer);
                self.count(&answer);
                Some(answer)
            }
            Err(error) => {
                self.run.trace.line(who, format_args!("{}: {}", ask.path, error.kind()));
                None
            }
        }
    }

    fn count(&self, answer: &Answer) {
        let run = &self.run;
        run.exercised("node: hits", u64::from(answer.is_hit()));
        run.exercised("node: partial answers", u64::from(answer.status == 206));
        run.exercised("node: errors answered", u64::from(answer.status >= 500));
        run.exercised("node: collapsed", u64::from(answer.is_collapsed()));
        let stale = answer.field("cache-status").is_some_and(|s| s.contains("ttl=-"));
        run.exercised("node: stale answers", u64::from(stale));
    }

    /// One visitor, for ever.
    pub(super) async fn visit(self, number: u64, mut rng: Rng) -> turmoil::Result {
        let who = format!("visitor {number}");
        let mut client = Client::new(self.http());
        let mut seen: Option<(String, String)> = None;
        loop {
            tokio::time::sleep(Duration::from_millis(rng.below(25))).await;
            let path = any_path(&mut rng);
            let mut ask = Ask { method: "GET", host: HOST, path: &path, ..Ask::default() };
            if Kind::of(&path) == Kind::Big && rng.below(2) == 0 {
                let start = rng.below(140_000);
                let most = if rng.below(2) == 0 { 1000 } else { 90_000 };
                let length = 1 + rng.below(most);
                ask.lines = format!("Range: bytes={start}-{}\r\n", start + length - 1);
            } else if let Some((_, etag)) = seen.as_ref().filter(|(p, _)| *p == path && rng.below(3) == 0) {
                ask.lines = format!("If-None-Match: {etag}\r\n");
            }
            if rng.below(12) == 0 {
                ask.leave_after = Some(usize::try_from(rng.below(60_000)).unwrap_or(0));
                self.run.exercised("node: visitors left early", 1);
            }
            if rng.below(30) == 0 {
                ask.lines.push_str("Connection: close\r\n");
            }
            if let Some(answer) = self.get(&mut client, &who, &ask).await {
                seen = answer.field("etag").map(|etag| (path.clone(), etag.to_owned()));
            }
        }
    }

    /// The operator, for ever: purges what visitors ask for, and applies generation after generation.
    pub(super) async fn operate(self, mut rng: Rng) -> turmoil::Result {
        while self.token.lock().unwrap_or_else(PoisonError::into_inner).is_none() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        let mut client = self.api();
        loop {
            if rng.below(4) == 0 {
                self.apply(&mut client).await;
            } else {
                let scope = any_scope(&mut rng);
                let soft = rng.below(3) == 0;
                self.purge(&mut client, scope, soft).await;
            }
            tokio::time::sleep(Duration::from_millis(rng.below(900))).await;
        }
    }

    pub(super) fn api(&self) -> Client {
        Client::new(SocketAddr::new(turmoil::lookup(NODE), API_PORT))
    }

    pub(super) async fn apply(&self, client: &mut Client) -> Call {
        let generation = self.history.next_generation();
        let done = self.call(client, "/v1/apply", "application/toml", &manifest(generation)).await;
        self.run.trace.line("operator", format_args!("apply {generation}: {done:?}"));
        if done == Call::Done {
            self.history.applied(generation);
            self.run.exercised("node: applies acknowledged", 1);
        }
        done
    }

    pub(super) async fn purge(&self, client: &mut Client, scope: Scope, soft: bool) -> Call {
        // What is purged has usually changed.
        let sent = now();
        let done = self.call(client, "/v1/cache/purge", "application/json", &request(&scope, soft)).await;
        self.run.trace.line("operator", format_args!("purge {scope:?} soft {soft}: {done:?}"));
        if done == Call::Done {
            self.history.purged(scope, soft, sent);
            self.run.exercised("node: purges acknowledged", 1);
        }
        done
    }

    async fn call(&self, client: &mut Client, path: &str, kind: &str, body: &str) -> Call {
        let token = self.token.lock().unwrap_or_else(PoisonError::into_inner).clone().unwrap_or_default();
        let lines = format!("Authorization: Bearer {token}\r\nContent-Type: {kind}\r\n");
        let ask = Ask { method: "POST", host: NODE, path, lines, body, leave_after: None };
        let call = match client.ask(&ask).await {
            Ok(answer) if answer.status == 200 => Call::Done,
            Ok(answer) if matches!(answer.status, 401 | 403) => {
                self.history
                    .fail(format!("{path}: the token was acknowledged and is not known: {}", answer.status));
                Call::Refused
            }
            Ok(answer) if answer.status < 500 || answer.status == 503 => Call::Refused,
            Ok(_) | Err(_) => Call::Unknown,
        };
        let counted = match call {
            Call::Done => "node: API calls done",
            Call::Refused => "node: API calls refused",
            Call::Unknown => "node: API calls unknown",
        };
        self.run.exercised(counted, 1);
        call
    }
}

fn any_scope(rng: &mut Rng) -> Scope {
    let path = any_path(rng);
    match rng.below(10) {
        0..5 => Scope::Url(path),
        5 | 6 => Scope::Prefix(format!("/{}", path.split('/').nth(1).unwrap_or(""))),
        7 | 8 => Scope::Tag(tag_of(&path)),
        _ => Scope::Site,
    }
}

fn request(scope: &Scope, soft: bool) -> String {
    let what = match scope {
        Scope::Url(path) => format!(r#""url":"http://{HOST}{path}""#),
        Scope::Prefix(path) => format!(r#""prefix":"http://{HOST}{path}""#),
        Scope::Tag(tag) => format!(r#""tag":"{tag}""#),
        Scope::Site => r#""all":true,"site":"a""#.to_owned(),
    };
    format!(r#"{{{what},"soft":{soft}}}"#)
}
