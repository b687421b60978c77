//! What is measured: detection of deaths, and a minute of trouble in which nobody dies.

use super::crowd::{Crowd, Size};
use std::time::Duration;

/// Within which all nodes start.
const STARTING: Duration = Duration::from_secs(2);
/// How long a cluster may take to form, before a measurement begins.
const FORMING_MAX: Duration = Duration::from_secs(120);
/// From one death to the next.
const DEATHS_APART: Duration = Duration::from_millis(300);
/// How long a node stays dead: longer than anybody may take to notice.
const DEAD_FOR: Duration = Duration::from_secs(8);
/// After forming, before the cost of rest is measured: the last tables are read.
const CALMING: Duration = Duration::from_secs(10);
/// How long the cost of rest is measured.
const REST: Duration = Duration::from_secs(10);

/// What a trial of deaths found. Times are until the last node that must know knew.
#[derive(Clone, Debug, Default)]
pub struct Detection {
    /// How long the cluster took to form.
    pub formed: Duration,
    /// Until all nodes of the PoP knew, for each death, in order of length.
    pub inside: Vec<Duration>,
    /// Until all nodes of all other PoPs knew.
    pub elsewhere: Vec<Duration>,
    /// Deaths that somebody had not heard of when the node came back.
    pub missed: usize,
    /// Running nodes that somebody took for dead.
    pub false_deaths: usize,
    /// Bytes a second of the node that sent and received most, at rest.
    pub bytes_at_rest: u64,
    /// The same while nodes died.
    pub bytes_worst: u64,
    /// The largest datagram.
    pub largest: usize,
    /// Virtual time in all.
    pub simulated: Duration,
}

/// A cluster whose nodes know each other, and how long that took from the last start.
pub fn formed(size: Size, seed: u64) -> (Crowd, Duration) {
    let mut crowd = Crowd::new(size, seed, STARTING);
    crowd.run(STARTING);
    let formed = crowd.run_until(FORMING_MAX, Crowd::is_whole).unwrap_or(FORMING_MAX);
    (crowd, formed)
}

/// Kills nodes one after the other, here and there, and lets them come back.
pub fn detect(size: Size, loss: f64, deaths: usize, seed: u64) -> Detection {
    let (mut crowd, formed) = formed(size, seed);
    crowd.run(CALMING);
    crowd.network.loss = loss;
    let mut found = Detection { formed, ..Detection::default() };
    found.bytes_at_rest = bytes_a_second(&mut crowd, REST, |crowd| crowd.run(REST));
    let before = crowd.watch.false_deaths.len();
    let start = crowd.now;
    crowd.count_anew();
    kill_in_turn(&mut crowd, deaths);
    found.bytes_worst = worst(&crowd, crowd.now - start);
    for death in &crowd.watch.deaths {
        let running = |(node, _): &(usize, &Option<Duration>)| *node != death.node;
        let nodes = || death.known.iter().enumerate().filter(running);
        let pop = |node: usize| crowd.nodes[node].pop == death.pop;
        // A node that was itself dead or just back had nothing to learn.
        let excused = |node: usize| {
            crowd.watch.deaths.iter().any(|other| {
                other.node == node && other.at < death.at + DEAD_FOR && death.at < other.at + 2 * DEAD_FOR
            })
        };
        let last = |inside: bool| {
            let asked = nodes().filter(|(node, _)| pop(*node) == inside && !excused(*node));
            asked.map(|(_, known)| known.unwrap_or(Duration::MAX)).max()
        };
        for (list, inside) in [(&mut found.inside, true), (&mut found.elsewhere, false)] {
            match last(inside) {
                Some(Duration::MAX) => found.missed += 1,
                Some(time) => list.push(time),
                None => {}
            }
        }
    }
    found.inside.sort_unstable();
    found.elsewhere.sort_unstable();
    found.false_deaths = crowd.watch.false_deaths.len() - before;
    found.largest = crowd.nodes.iter().map(|node| node.largest).max().unwrap_or(0);
    found.simulated = crowd.now;
    found
}

/// At most a tenth of the nodes are dead at a time.
fn kill_in_turn(crowd: &mut Crowd, deaths: usize) {
    let most = (crowd.nodes.len() / 10).max(1);
    let mut dead: Vec<(Duration, usize)> = Vec::new();
    let mut left = deaths;
    while left > 0 || !dead.is_empty() {
        let (back, still): (Vec<_>, Vec<_>) = dead.into_iter().partition(|(until, _)| *until <= crowd.now);
        dead = still;
        back.iter().for_each(|(_, node)| crowd.start(*node));
        // A node that is just back has to find its PoP before it can be asked again.
        if left > 0 && dead.len() < most && (most > 1 || back.is_empty()) {
            let node = crowd.dice.below(crowd.nodes.len());
            if crowd.nodes[node].core.is_some() {
                crowd.kill(node);
                dead.push((crowd.now + DEAD_FOR, node));
                left -= 1;
            }
        }
        crowd.run(DEATHS_APART);
        if !back.is_empty() && most == 1 {
            crowd.run_until(Duration::from_secs(20), Crowd::is_whole);
            let pause = Duration::from_millis(crowd.dice.below(1_000) as u64);
            crowd.run(pause);
        }
    }
}

fn bytes_a_second(crowd: &mut Crowd, span: Duration, act: impl FnOnce(&mut Crowd)) -> u64 {
    crowd.count_anew();
    act(crowd);
    worst(crowd, span)
}

fn worst(crowd: &Crowd, span: Duration) -> u64 {
    let most = crowd.nodes.iter().map(|node| node.bytes.0 + node.bytes.1).max().unwrap_or(0);
    (most as f64 / span.as_secs_f64()) as u64
}

/// What a minute of trouble found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Quiet {
    /// Running nodes that somebody took for dead, counted by who did.
    pub false_deaths: usize,
    /// PoPs that somebody took for unreachable.
    pub pops_lost: usize,
    /// Suspicions that somebody heard of.
    pub suspicions: u64,
    /// Bytes a second of the node that sent and received most.
    pub bytes_worst: u64,
}

/// A minute in which that share of datagrams is lost each way, and that share of nodes stalls, up to a second
/// each time, again and again.
pub fn quiet_minute(size: Size, loss: f64, stalling: f64, seed: u64) -> Quiet {
    let (mut crowd, _) = formed(size, seed);
    crowd.network.loss = loss;
    let (deaths, lost, suspicions) =
        (crowd.watch.false_deaths.len(), crowd.watch.pops_lost.len(), crowd.watch.suspicions);
    let stallers: Vec<usize> = (0..crowd.nodes.len()).filter(|_| crowd.dice.fraction() < stalling).collect();
    crowd.count_anew();
    let end = crowd.now + Duration::from_secs(60);
    while crowd.now < end {
        for node in &stallers {
            // On average half a second of stall, then half a second of running.
            if !crowd.is_stalled(*node) && crowd.dice.fraction() < 0.1 {
                let stall = Duration::from_secs(1).mul_f64(crowd.dice.fraction());
                crowd.stall(*node, stall);
            }
        }
        crowd.run(Duration::from_millis(50));
    }
    // What was sown may come up a little later.
    crowd.run(Duration::from_secs(5));
    Quiet {
        false_deaths: crowd.watch.false_deaths.len() - deaths,
        pops_lost: crowd.watch.pops_lost.len() - lost,
        suspicions: crowd.watch.suspicions - suspicions,
        bytes_worst: worst(&crowd, Duration::from_secs(65)),
    }
}
