//! What clients see when the leader goes, and how soon watchers are told.

use std::cell::{Cell, RefCell};
use std::io;
use std::rc::Rc;
use std::time::{Duration, Instant};

use super::PATIENCE;
use super::ours::{Http, Ours, SPACE};

/// Between two tries of a client that was refused.
const PAUSE: Duration = Duration::from_millis(5);

/// Kills the leader, and measures until the next write is acknowledged at another node.
pub(crate) async fn kill(ours: &mut Ours, trials: usize) -> io::Result<()> {
    let mut took = Vec::new();
    for trial in 0..trials {
        let leader = settled(ours).await?;
        let other = (leader + 1) % 3;
        let mut client = ours.http(other).await?;
        client.put("key/failover", b"before").await?;
        ours.kill(leader)?;
        let killed = Instant::now();
        loop {
            // A try may wait for a leader; one that was refused is made again.
            match client.put("key/failover", format!("{trial}").as_bytes()).await {
                Ok(200) => break,
                Ok(_) => {}
                Err(_) => client = ours.http(other).await?,
            }
            if killed.elapsed() > PATIENCE {
                return Err(io::Error::other("no write was acknowledged after the leader was killed"));
            }
            tokio::time::sleep(PAUSE).await;
        }
        took.push(killed.elapsed());
        ours.restart(leader).await?;
    }
    took.sort();
    let within = took.iter().filter(|took| **took <= Duration::from_secs(2)).count();
    println!("\nthe leader is killed (kill -9): until the next acknowledged write");
    quantiles(&took);
    println!(
        "{within} of {trials} within 2 s, asked all: {}",
        if within == trials { "met" } else { "MISSED" }
    );
    Ok(())
}

/// Hands the lead over while a client at each node writes without a pause.
pub(crate) async fn transfer(ours: &Ours, trials: usize) -> io::Result<()> {
    settled(ours).await?;
    let (over, failed) = (Rc::new(Cell::new(false)), Rc::new(Cell::new(0u64)));
    let gaps = Rc::new(RefCell::new(Vec::new()));
    let set = tokio::task::LocalSet::new();
    let mut writing = Vec::new();
    for number in 0..3 {
        let mut client = ours.http(number).await?;
        let (over, failed, gaps) = (over.clone(), failed.clone(), gaps.clone());
        writing.push(set.spawn_local(async move {
            while !over.get() {
                let started = Instant::now();
                if client.put(&format!("key/{number}"), b"x").await? != 200 {
                    failed.set(failed.get() + 1);
                }
                gaps.borrow_mut().push(started.elapsed());
            }
            Ok::<_, io::Error>(())
        }));
    }
    let mut pauses = Vec::new();
    set.run_until(async {
        for _ in 0..trials {
            let leader = settled(ours).await?;
            let next = ["a", "b", "c"][(leader + 1) % 3];
            tokio::time::sleep(Duration::from_millis(300)).await;
            gaps.borrow_mut().clear();
            let mut asking = ours.http(leader).await?;
            let (status, said) =
                asking.ask("POST", "/v1/leader", &format!("{{\"leader\":\"{next}\"}}")).await?;
            if status / 100 != 2 {
                return Err(io::Error::other(format!(
                    "the transfer failed: {}",
                    String::from_utf8_lossy(said)
                )));
            }
            tokio::time::sleep(Duration::from_millis(300)).await;
            pauses.push(gaps.borrow().iter().max().copied().unwrap_or_default());
        }
        over.set(true);
        for writing in writing {
            writing.await.map_err(io::Error::other)??;
        }
        Ok(())
    })
    .await?;
    pauses.sort();
    println!("\nthe lead is handed over while a client at each node writes: the longest write");
    quantiles(&pauses);
    let within = pauses.iter().filter(|pause| **pause < Duration::from_millis(50)).count();
    let met = failed.get() == 0 && within == trials;
    println!(
        "{} writes failed, {within} of {trials} pauses under 50 ms; asked none and all: {}",
        failed.get(),
        if met { "met" } else { "MISSED" }
    );
    Ok(())
}

/// Has many watch one key at one node, puts it at another, and measures until all have the event.
pub(crate) async fn watch(ours: &Ours, watchers: usize, events: usize) -> io::Result<()> {
    let leader = settled(ours).await?;
    let (at, mut client) = ((leader + 1) % 3, ours.http(leader).await?);
    let set = tokio::task::LocalSet::new();
    let (seen, ready) = (Rc::new(Cell::new(0usize)), Rc::new(Cell::new(0usize)));
    let mut took = Vec::new();
    set.run_until(async {
        let mut watching = Vec::new();
        for _ in 0..watchers {
            let watcher = ours.http(at).await?;
            watching.push(tokio::task::spawn_local(follow(watcher, seen.clone(), ready.clone())));
        }
        wait(&ready, watchers).await?;
        for event in 1..=events {
            let begun = Instant::now();
            if client.put("key/watched", format!("{event}").as_bytes()).await? != 200 {
                return Err(io::Error::other("the watched key was not put"));
            }
            wait(&seen, watchers * event).await?;
            took.push(begun.elapsed());
        }
        watching.iter().for_each(tokio::task::JoinHandle::abort);
        Ok(())
    })
    .await?;
    took.sort();
    println!("\n{watchers} watchers at one node, put at another: until the last has the event");
    quantiles(&took);
    let met = took.last().is_some_and(|last| *last < Duration::from_millis(100));
    println!("asked under 100 ms: {}", if met { "met" } else { "MISSED" });
    Ok(())
}

async fn follow(mut watcher: Http, seen: Rc<Cell<usize>>, ready: Rc<Cell<usize>>) -> io::Result<()> {
    let body = "{\"key\":\"key/watched\"}";
    watcher.ask("POST", &format!("{SPACE}/watch"), body).await?;
    let mut is_ready = false;
    loop {
        let text = watcher.taken();
        // The first line only says from where on it watches.
        if !is_ready && memchr::memmem::find(&text, b"\"revision\"").is_some() {
            is_ready = true;
            ready.set(ready.get() + 1);
        }
        let events = memchr::memmem::find_iter(&text, b"\"value\":").count();
        seen.set(seen.get() + events);
        watcher.more().await?;
    }
}

async fn wait(count: &Cell<usize>, wanted: usize) -> io::Result<()> {
    let started = Instant::now();
    while count.get() < wanted {
        if started.elapsed() > PATIENCE {
            return Err(io::Error::other(format!("only {} of {wanted} came", count.get())));
        }
        tokio::time::sleep(Duration::from_micros(200)).await;
    }
    Ok(())
}

/// The leader, once all three nodes name the same.
async fn settled(ours: &Ours) -> io::Result<usize> {
    let started = Instant::now();
    loop {
        let mut named = Vec::new();
        for number in 0..3 {
            named.push(ours.leader(number).await.ok().flatten());
        }
        if let [Some(a), Some(b), Some(c)] = named[..]
            && a == b
            && b == c
        {
            return Ok(a);
        }
        if started.elapsed() > PATIENCE {
            return Err(io::Error::other("the nodes do not agree on a leader"));
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Of sorted times.
pub(crate) fn quantiles(times: &[Duration]) {
    let at = |q: f64| times.get(((times.len() as f64 - 1.0) * q) as usize).copied().unwrap_or_default();
    let ms = |time: Duration| time.as_secs_f64() * 1e3;
    println!("median {:.1} ms, p90 {:.1} ms, longest {:.1} ms", ms(at(0.5)), ms(at(0.9)), ms(at(1.0)));
}
