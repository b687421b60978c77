//! How far other nodes are, as a file says that may change at any time: for small worlds on one machine.
//!
//! ```text
//! # a line for each node: its key, the round trip to it in milliseconds, and `cut` if nothing gets through
//! 5d1f...e0 40
//! 77ab...12 120 cut
//! ```
//! The nodes that it does not name are as near as they are.

use super::config::{BindLinks, RealLinks};
use selvedge_mesh::distance::{Distances, Way, at_distance};
use selvedge_mesh::{BindError, Identity};
use selvedge_rt::links::side::Boxed;
use selvedge_rt::links::{Links, Options};
use selvedge_rt::{Clock, OnEnd, Tasks};
use selvedge_types::NodeKey;
use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// How often the file is looked at.
const LOOK: Duration = Duration::from_millis(100);

/// Links over the machine's network, at the distances that a file names.
pub struct DistantLinks {
    /// The file. While it cannot be read, the last that it said holds.
    pub file: PathBuf,
}

impl BindLinks for DistantLinks {
    fn bind<'a>(
        &'a self,
        identity: &'a Identity,
        addresses: &'a [SocketAddr],
        options: Options,
        clock: &'a Clock,
        tasks: &'a Tasks,
    ) -> Boxed<'a, Result<Links, BindError>> {
        Box::pin(async move {
            let links = RealLinks.bind(identity, addresses, options, clock, tasks).await?;
            let distances = Distances::default();
            let mut following = Following { file: self.file.clone(), said: String::new() };
            following.look(&distances, tasks).await;
            let (distant, watched) = (at_distance(links, distances.clone(), tasks), tasks.clone());
            tasks.spawn("distances", OnEnd::Forget, async move { following.run(&distances, &watched).await });
            Ok(distant)
        })
    }
}

struct Following {
    file: PathBuf,
    said: String,
}

impl Following {
    async fn run(&mut self, distances: &Distances, tasks: &Tasks) {
        loop {
            tokio::select! {
                () = tokio::time::sleep(LOOK) => self.look(distances, tasks).await,
                () = tasks.stopped() => return,
            }
        }
    }

    async fn look(&mut self, distances: &Distances, tasks: &Tasks) {
        let file = self.file.clone();
        let read = tasks.blocking("read distances", move || std::fs::read_to_string(file)).await;
        match read.and_then(|inner| inner) {
            Ok(text) if text == self.said => {}
            Ok(text) => {
                match parse(&text) {
                    Ok(ways) => distances.set(ways),
                    Err(line) => tracing::warn!(line, "distances are not understood; the former ones hold"),
                }
                self.said = text;
            }
            Err(error) => tracing::debug!(%error, "distances cannot be read"),
        }
    }
}

/// Writes the file, whole or not at all.
pub(crate) fn write(file: &Path, ways: &BTreeMap<NodeKey, Way>) -> io::Result<()> {
    let part = file.with_extension("new");
    std::fs::write(&part, render(ways))?;
    std::fs::rename(part, file)
}

fn render(ways: &BTreeMap<NodeKey, Way>) -> String {
    let line = |(key, way): (&NodeKey, &Way)| {
        let round_trip = way.delay.as_secs_f64() * 2000.0;
        format!("{key} {round_trip}{}\n", if way.cut { " cut" } else { "" })
    };
    ways.iter().map(line).collect()
}

/// What a file says, or the line that says nothing.
fn parse(text: &str) -> Result<BTreeMap<NodeKey, Way>, &str> {
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
    lines.map(|line| one(line).ok_or(line)).collect()
}

fn one(line: &str) -> Option<(NodeKey, Way)> {
    let mut words = line.split_whitespace();
    let key = words.next()?.parse().ok()?;
    let round_trip: f64 = words.next()?.parse().ok()?;
    let cut = match words.next() {
        None => false,
        Some("cut") => true,
        Some(_) => return None,
    };
    let delay = Duration::try_from_secs_f64(round_trip / 2000.0).ok()?;
    words.next().is_none().then_some((key, Way { delay, cut }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_back_and_nonsense_is_named() {
        let key = |n| NodeKey::from_bytes([n; 32]);
        let way = |ms, cut| Way { delay: Duration::from_millis(ms), cut };
        let ways = BTreeMap::from([(key(1), way(60, false)), (key(2), way(0, true))]);
        assert_eq!(parse(&render(&ways)), Ok(ways));
        let good = format!("# far away\n\n{} 5\n", key(3));
        let half = Duration::from_micros(2500);
        assert_eq!(parse(&good), Ok(BTreeMap::from([(key(3), Way { delay: half, cut: false })])));
        for bad in
            ["x 5", &format!("{} soon", key(1)), &format!("{} -1", key(1)), &format!("{} 5 cat", key(1))]
        {
            assert_eq!(parse(bad), Err(bad));
        }
    }
}
