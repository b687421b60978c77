//! The seams themselves: an echo over the simulated network, through a partition, with clocks that are
//! wrong.

use crate::clock::SimClock;
use crate::net::net;
use crate::run::{Failure, Run};
use selvedge_rt::{OnEnd, Stream, Tasks};
use std::net::SocketAddr;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

const PORT: u16 = 80;
const ROUNDS: u64 = 30;

pub(super) fn play(run: &Run) -> Result<(), Failure> {
    run.require("network: echoes", 5);
    let mut rng = run.rng.branch("network");
    let mut sim = turmoil::Builder::new()
        .rng_seed(rng.next_u64())
        .simulation_duration(Duration::from_secs(120))
        .min_message_latency(Duration::from_millis(1))
        .max_message_latency(Duration::from_millis(50))
        .build();
    let server = run.clone();
    sim.host("server", move || serve(server.clone()));
    let client = run.clone();
    sim.client("client", ask(client));
    sim.run().map_err(|e| Failure::new(e.to_string()))
}

async fn serve(run: Run) -> turmoil::Result {
    let tasks = Tasks::simulated();
    let listener = net().bind(SocketAddr::from(([0, 0, 0, 0], PORT))).await?;
    loop {
        let (stream, peer) = listener.accept().await?;
        run.trace.line("server", format_args!("accepts {peer}"));
        tasks.spawn("echo", OnEnd::Forget, echo(stream));
    }
}

async fn echo(mut stream: Stream) {
    let mut buf = [0; 64];
    while let Ok(read @ 1..) = stream.read(&mut buf).await {
        if stream.write_all(&buf[..read]).await.is_err() {
            return;
        }
    }
}

async fn ask(run: Run) -> turmoil::Result {
    let mut rng = run.rng.branch("client");
    let wall = SimClock::new();
    let clock = wall.clock();
    let server = SocketAddr::new(turmoil::lookup("server"), PORT);
    for round in 0..ROUNDS {
        wall.set_error(i64::try_from(rng.below(20_000))? - 10_000, 200);
        let cut = rng.below(4) == 0;
        if cut {
            turmoil::partition("client", "server");
        }
        let answer = tokio::time::timeout(Duration::from_millis(500), exchange(server, round)).await;
        run.trace.line("client", format_args!("round {round} at {:?}: {answer:?}", clock.wall()));
        match answer {
            Ok(Ok(())) if cut => return Err("an answer came through a cut".into()),
            Ok(Ok(())) => run.exercised("network: echoes", 1),
            Ok(Err(_)) | Err(_) => run.exercised("network: cuts noticed", u64::from(cut)),
        }
        turmoil::repair("client", "server");
    }
    Ok(())
}

async fn exchange(server: SocketAddr, round: u64) -> std::io::Result<()> {
    let mut stream = net().connect(server).await?;
    stream.write_all(&round.to_be_bytes()).await?;
    let mut buf = [0; 8];
    stream.read_exact(&mut buf).await?;
    if buf == round.to_be_bytes() { Ok(()) } else { Err(std::io::ErrorKind::InvalidData.into()) }
}
