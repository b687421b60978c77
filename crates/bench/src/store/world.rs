//! A world of `selvedge dev`: how soon what is applied is in force everywhere, and how soon a new node serves.

use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::PATIENCE;
use super::failover::quantiles;
use super::ours::Http;

/// Between two looks whether a node serves what it should.
const PAUSE: Duration = Duration::from_millis(2);
/// The longest that a change may take beyond the distance.
const APPLY_MAX: Duration = Duration::from_millis(500);
/// The longest that a node may take until it serves.
const JOIN_MAX: Duration = Duration::from_secs(3);

/// Three PoPs of two nodes, as `dev` starts them.
pub(crate) struct World {
    program: PathBuf,
    place: PathBuf,
    token: String,
    nodes: Vec<Node>,
    process: Child,
}

struct Node {
    name: String,
    pop: String,
    api: SocketAddr,
    http: SocketAddr,
}

impl Drop for World {
    fn drop(&mut self) {
        // It may have ended already; what it started ends with it.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl World {
    pub(crate) fn start(program: &Path, place: &Path) -> io::Result<Self> {
        let place = place.join("world");
        std::fs::create_dir_all(&place)?;
        let free = "127.0.0.1:0";
        let mut process = Command::new(program)
            .env("HOME", &place)
            .args(["dev", "--nodes-per-pop", "2", "--http", free, "--https", free, "--api", free])
            .args(["--output", "json", "--data"])
            .arg(&place)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(std::fs::File::create(place.join("said"))?)
            .spawn()?;
        let stdout = process.stdout.take();
        let mut world = World {
            program: program.to_owned(),
            place: place.clone(),
            token: String::new(),
            nodes: Vec::new(),
            process,
        };
        let stdout = stdout.ok_or_else(|| io::Error::other("no output"))?;
        let said = serde_json::Deserializer::from_reader(stdout).into_iter::<Value>().next();
        let said = said.ok_or_else(|| io::Error::other("`selvedge dev` did not start"))??;
        for node in said["nodes"].as_array().into_iter().flatten() {
            world.nodes.push(Node {
                name: text(&node["name"]),
                pop: text(&node["pop"]),
                api: address(&node["api"])?,
                http: address(&node["http"][0])?,
            });
        }
        let context: Value = serde_json::from_slice(&std::fs::read(place.join("context.json"))?)?;
        world.token = text(&context["token"]);
        Ok(world)
    }

    /// The time that words need at least: from the node that is asked to the leader, from there to a majority and back,
    /// and to the furthest. The leader and what is far are in the PoPs' order of names.
    async fn distance(&self, asked: &Node) -> io::Result<Duration> {
        let voters = self.get(asked, "/v1/voters").await?;
        let leader = text(&voters["leader"]);
        let leader = self.nodes.iter().find(|node| node.name == leader);
        let leader = leader.ok_or_else(|| io::Error::other("nobody leads"))?;
        let far = |other: &str| round_trip(&leader.pop, other);
        let is_voter = |node: &&Node| {
            node.name != leader.name
                && voters["voters"].as_array().is_some_and(|all| all.contains(&node.name.as_str().into()))
        };
        let nearest = self.nodes.iter().filter(is_voter).map(|node| far(&node.pop)).min().unwrap_or_default();
        let furthest = self.nodes.iter().map(|node| far(&node.pop)).max().unwrap_or_default();
        Ok(far(&asked.pop) / 2 + nearest + furthest / 2)
    }

    async fn get(&self, node: &Node, target: &str) -> io::Result<Value> {
        let mut http = Http::connect(node.api, &self.token).await?;
        let (_, body) = http.ask("GET", target, "").await?;
        Ok(serde_json::from_slice(body)?)
    }

    async fn apply(&self, node: &Node, text: &str) -> io::Result<()> {
        let manifest = format!(
            "[site.a]\nhosts = [\"a.test\"]\n[[site.a.route]]\npath = \"/*\"\n\
             respond = {{ status = 200, body = \"{text}\" }}\n"
        );
        let mut http = Http::connect(node.api, &self.token).await?;
        match http.send("POST", "/v1/apply", "application/toml", &manifest).await? {
            (200, _) => Ok(()),
            (status, said) => {
                let said = String::from_utf8_lossy(said);
                Err(io::Error::other(format!("apply at {} was answered {status}: {said}", node.name)))
            }
        }
    }
}

/// Applies a change at each node in turn, and measures until all nodes answer by it.
pub(crate) async fn apply(world: &World, trials: usize) -> io::Result<()> {
    let (mut beyond, mut whole) = (Vec::new(), Vec::new());
    for (trial, asked) in world.nodes.iter().cycle().take(trials).enumerate() {
        let distance = world.distance(asked).await?;
        let answer = format!("answer {trial}");
        let begun = Instant::now();
        let each = world.nodes.iter().map(|node| until_served(node.http, &answer));
        let (applied, all) = tokio::join!(world.apply(asked, &answer), futures_util::future::join_all(each));
        applied?;
        let last = all.into_iter().collect::<io::Result<Vec<Instant>>>()?.into_iter().max();
        let took = last.map(|at| at - begun).unwrap_or_default();
        whole.push(took);
        beyond.push(took.saturating_sub(distance));
    }
    whole.sort();
    beyond.sort();
    println!("\na change is applied at a node of `dev --nodes-per-pop 2`: until all six answer by it");
    quantiles(&whole);
    println!("beyond the distance that it has to go");
    quantiles(&beyond);
    let met = beyond.last().is_some_and(|longest| *longest < APPLY_MAX);
    println!("asked under {} ms: {}", APPLY_MAX.as_millis(), if met { "met" } else { "MISSED" });
    Ok(())
}

/// Lets new nodes join, at no distance, and measures from the start of the process until it answers for a site.
pub(crate) async fn join(world: &World, trials: usize) -> io::Result<()> {
    let Some(first) = world.nodes.first() else { return Ok(()) };
    world.apply(first, "joined").await?;
    let mut took = Vec::new();
    for trial in 0..trials {
        let mut http = Http::connect(first.api, &world.token).await?;
        let (_, made) = http.ask("POST", "/v1/tickets", "{}").await?;
        let ticket = text(&serde_json::from_slice::<Value>(made)?["ticket"]);
        let (name, listen) = (format!("new-{trial}"), super::etcd::free()?);
        let free = "127.0.0.1:0";
        let begun = Instant::now();
        let process = Command::new(&world.program)
            .env("HOME", &world.place)
            .args(["up", "--until-stdin-ends", "--join", &ticket, "--name", &name, "--pop", &first.pop])
            .args(["--http", &listen.to_string(), "--https", free, "--api", free, "--mesh", free, "--data"])
            .arg(world.place.join(&name))
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()?;
        let mut process = Joined(process);
        took.push(until_served(listen, "joined").await? - begun);
        process.end()?;
        http.ask("DELETE", &format!("/v1/nodes/{name}"), "").await?;
    }
    took.sort();
    println!("\na node joins a cluster of six: from the start of its process until it answers for a site");
    quantiles(&took);
    let met = took.last().is_some_and(|longest| *longest < JOIN_MAX);
    println!("asked under {} s: {}", JOIN_MAX.as_secs(), if met { "met" } else { "MISSED" });
    Ok(())
}

struct Joined(Child);

impl Joined {
    fn end(&mut self) -> io::Result<()> {
        drop(self.0.stdin.take());
        self.0.wait().map(drop)
    }
}

impl Drop for Joined {
    fn drop(&mut self) {
        // It has mostly ended already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// When the node there first answers so.
async fn until_served(addr: SocketAddr, answer: &str) -> io::Result<Instant> {
    let begun = Instant::now();
    loop {
        if ask(addr).await.is_ok_and(|said| said.ends_with(answer)) {
            return Ok(Instant::now());
        }
        if begun.elapsed() > PATIENCE {
            return Err(io::Error::other(format!("the node at {addr} does not answer {answer:?}")));
        }
        tokio::time::sleep(PAUSE).await;
    }
}

async fn ask(addr: SocketAddr) -> io::Result<String> {
    let mut stream = TcpStream::connect(addr).await?;
    stream.write_all(b"GET / HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\n\r\n").await?;
    let mut said = String::new();
    stream.read_to_string(&mut said).await?;
    Ok(said)
}

/// What `dev` puts between its first three PoPs.
fn round_trip(one: &str, other: &str) -> Duration {
    let ms = match (one.min(other), one.max(other)) {
        (a, b) if a == b => 0,
        ("ams", "fra") => 5,
        ("fra", "nyc") => 40,
        _ => 120,
    };
    Duration::from_millis(ms)
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

fn address(url: &Value) -> io::Result<SocketAddr> {
    let url = text(url);
    let address = url.split("://").nth(1).map(|rest| rest.trim_end_matches('/').parse());
    address.and_then(Result::ok).ok_or_else(|| io::Error::other(format!("{url:?} is no address")))
}
