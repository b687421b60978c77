//! One round: clients in a closed loop.

use std::io;
use std::rc::Rc;
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;

use super::client::Connect;
use super::{Action, Args, KEYS, Plan, key};

/// How long clients work before it counts.
const WARM_UP: Duration = Duration::from_secs(1);

/// What a round came to.
#[derive(Clone, Debug)]
pub(crate) struct Round {
    pub(crate) rate: f64,
    pub(crate) p50: Duration,
    pub(crate) p99: Duration,
    /// Flushes of all voters, for each request.
    pub(crate) flushes: f64,
    /// CPU time of all voters, for each request.
    pub(crate) cpu: Duration,
}

pub(crate) async fn play(contender: &dyn Connect, plan: Plan, args: &Args) -> io::Result<Round> {
    let value: Rc<[u8]> = vec![b'v'; args.value_bytes].into();
    if plan.action != Action::Put {
        fill(contender, &value).await?;
    }
    let mut clients = Vec::new();
    for number in 0..plan.clients {
        clients.push(contender.client((plan.clients > 1).then_some(number % 3)).await?);
    }
    let begin = Instant::now() + WARM_UP;
    let end = begin + Duration::from_secs(args.seconds);
    let work = tokio::task::LocalSet::new();
    let mut working = Vec::new();
    for (number, mut client) in clients.into_iter().enumerate() {
        let value = value.clone();
        working.push(work.spawn_local(async move {
            let mut took = Histogram::<u64>::new(3).map_err(io::Error::other)?;
            // A sequence of its own (Knuth's MMIX generator).
            let mut dice = number as u64 + 1;
            loop {
                dice = dice.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                let started = Instant::now();
                if started >= end {
                    return Ok::<_, io::Error>(took);
                }
                client.act(plan.action, &key((dice >> 33) % KEYS), &value).await?;
                if started >= begin {
                    let nanos = u64::try_from(started.elapsed().as_nanos()).unwrap_or(u64::MAX);
                    took.record(nanos).map_err(io::Error::other)?;
                }
            }
        }));
    }
    work.run_until(async {
        tokio::time::sleep_until(begin.into()).await;
        let (flushes, cpu) = (contender.flushes().await?, contender.cpu());
        let mut all = Histogram::<u64>::new(3).map_err(io::Error::other)?;
        for working in working {
            all.add(working.await.map_err(io::Error::other)??).map_err(io::Error::other)?;
        }
        let count = all.len().max(1) as f64;
        let quantile = |q| Duration::from_nanos(all.value_at_quantile(q));
        Ok(Round {
            rate: count / args.seconds as f64,
            p50: quantile(0.5),
            p99: quantile(0.99),
            flushes: contender.flushes().await?.saturating_sub(flushes) as f64 / count,
            cpu: (contender.cpu().saturating_sub(cpu)).div_f64(count),
        })
    })
    .await
}

/// Puts every key that is read.
async fn fill(contender: &dyn Connect, value: &[u8]) -> io::Result<()> {
    const CLIENTS: u64 = 64;
    let mut filling = Vec::new();
    for number in 0..CLIENTS {
        let mut client = contender.client(None).await?;
        filling.push(async move {
            for at in (number..KEYS).step_by(CLIENTS as usize) {
                client.act(Action::Put, &key(at), value).await?;
            }
            Ok::<_, io::Error>(())
        });
    }
    for done in futures_util::future::join_all(filling).await {
        done?;
    }
    Ok(())
}
