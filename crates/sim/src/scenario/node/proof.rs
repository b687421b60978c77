//! When all trouble has ended, the service is back: pages come, hits happen, purges and manifests work, and many
//! who ask for one thing cost the origin one fetch.

use super::client::{Answer, Ask, Client};
use super::history::Scope;
use super::visitors::{Call, Visitors};
use super::workload::HOST;
use super::{HTTP_PORT, NODE};
use std::net::SocketAddr;
use std::time::Duration;

/// How often a call is tried until the service must be back: connections of before may still be found broken.
const ATTEMPTS: u64 = 40;
const PAUSE: Duration = Duration::from_millis(500);
/// How many ask for one thing at once.
const CROWD: u64 = 8;

pub(super) async fn prove(visitors: &Visitors) -> Result<(), String> {
    for path in ["/page/1", "/strict/1", "/long/1", "/big/1", "/private/1"] {
        answered(visitors, path).await?;
    }
    is_hit(visitors, "/long/1").await?;
    is_hit(visitors, "/big/1").await?;
    applied(visitors).await?;
    purged(visitors).await?;
    for number in 0..3 {
        collapsed(visitors, &format!("/once/{number}")).await?;
    }
    visitors.run.exercised("node: service proven", 1);
    Ok(())
}

fn new_client() -> Client {
    Client::new(SocketAddr::new(turmoil::lookup(NODE), HTTP_PORT))
}

async fn get(visitors: &Visitors, path: &str) -> Option<Answer> {
    let ask = Ask { method: "GET", host: HOST, path, ..Ask::default() };
    visitors.get(&mut new_client(), "prover", &ask).await
}

/// A path is answered with 200, soon.
async fn answered(visitors: &Visitors, path: &str) -> Result<Answer, String> {
    for _ in 0..ATTEMPTS {
        match get(visitors, path).await {
            Some(answer) if answer.status == 200 && answer.is_complete => return Ok(answer),
            _ => tokio::time::sleep(PAUSE).await,
        }
    }
    Err(format!("{path} is not answered although all trouble has ended"))
}

/// A path that may be kept is answered from the cache in the end.
async fn is_hit(visitors: &Visitors, path: &str) -> Result<(), String> {
    for _ in 0..ATTEMPTS {
        if answered(visitors, path).await?.is_hit() {
            return Ok(());
        }
        tokio::time::sleep(PAUSE).await;
    }
    Err(format!("{path} is never answered from the cache"))
}

async fn applied(visitors: &Visitors) -> Result<(), String> {
    let mut client = visitors.api();
    for _ in 0..ATTEMPTS {
        if visitors.apply(&mut client).await == Call::Done {
            return Ok(());
        }
        tokio::time::sleep(PAUSE).await;
    }
    Err("no manifest can be applied although all trouble has ended".into())
}

/// A purge is taken, and what it names is fetched anew; the answers are checked as all are.
async fn purged(visitors: &Visitors) -> Result<(), String> {
    let before = visitors.history.fetches_of("/long/1");
    let mut client = visitors.api();
    if visitors.purge(&mut client, Scope::Url("/long/1".into()), false).await != Call::Done {
        return Err("a purge is refused although all trouble has ended".into());
    }
    answered(visitors, "/long/1").await?;
    if visitors.history.fetches_of("/long/1") == before {
        return Err("what was purged was not fetched again".into());
    }
    Ok(())
}

/// Many who ask at once for what is absent cost one fetch.
async fn collapsed(visitors: &Visitors, path: &str) -> Result<(), String> {
    let mut crowd = tokio::task::JoinSet::new();
    for _ in 0..CROWD {
        let (visitors, path) = (visitors.clone(), path.to_owned());
        crowd.spawn_local(async move { get(&visitors, &path).await.is_some_and(|a| a.status == 200) });
    }
    let all = crowd.join_all().await.into_iter().all(|answered| answered);
    let fetches = visitors.history.fetches_of(path);
    match (all, fetches) {
        (false, _) => Err(format!("of {CROWD} who asked for {path} at once not all were answered")),
        (true, 1) => Ok(()),
        (true, many) => Err(format!("{CROWD} who asked for {path} at once cost {many} fetches")),
    }
}
