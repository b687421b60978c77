//! Three nodes of ours, with their defaults and one keyspace.

use std::fs::{self, File};
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::client::{Client, Connect, Doing};
use super::etcd::free;
use super::{Action, PATIENCE};
use crate::edge::process::cpu_time;

const NAMES: [&str; 3] = ["a", "b", "c"];
const MANIFEST: &str = "[keyspace.bench]\nconsistency = \"strong\"\nquota = \"2GiB\"\n";

/// Where keys are, in the API.
pub(crate) const SPACE: &str = "/v1/kv/default/bench";

pub(crate) struct Ours {
    program: PathBuf,
    place: PathBuf,
    pub(crate) token: String,
    pub(crate) nodes: Vec<Running>,
}

pub(crate) struct Running {
    pub(crate) process: Child,
    pub(crate) api: SocketAddr,
    mesh: SocketAddr,
}

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl Ours {
    pub(crate) async fn start(program: &Path, place: &Path) -> io::Result<Self> {
        let mut ours = Ours {
            program: program.to_owned(),
            place: place.to_owned(),
            token: String::new(),
            nodes: Vec::new(),
        };
        for number in 0..3 {
            let mesh = free_udp()?;
            let joining = match number {
                0 => vec!["--new".to_owned()],
                _ => vec!["--join".to_owned(), ours.say(0, &["ticket", "create"])?.trim().to_owned()],
            };
            let running = ours.spawn(number, free()?, mesh, &joining)?;
            ours.nodes.push(running);
            ours.wait_ready(number).await?;
            if number == 0 {
                let context = fs::read(ours.home(0).join("data/context.json"))?;
                let context: serde_json::Value = serde_json::from_slice(&context)?;
                ours.token = context["token"].as_str().unwrap_or_default().to_owned();
            }
        }
        let started = Instant::now();
        while ours.voters()?["voters"].as_array().map_or(0, Vec::len) < 3 {
            if started.elapsed() > PATIENCE {
                return Err(io::Error::other("the nodes have not become three voters"));
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        let manifest = place.join("bench.toml");
        fs::write(&manifest, MANIFEST)?;
        ours.say(0, &["apply", &manifest.display().to_string(), "--wait"])?;
        Ok(ours)
    }

    fn home(&self, number: usize) -> PathBuf {
        self.place.join(NAMES[number])
    }

    fn spawn(
        &self,
        number: usize,
        api: SocketAddr,
        mesh: SocketAddr,
        more: &[String],
    ) -> io::Result<Running> {
        let home = self.home(number);
        fs::create_dir_all(&home)?;
        let log = File::create(home.join("log"))?;
        let process = Command::new(&self.program)
            .env("HOME", &home)
            .arg("up")
            .arg("--data")
            .arg(home.join("data"))
            .args(["--name", NAMES[number], "--pop", NAMES[number]])
            .args(["--http", "127.0.0.1:0", "--https", "127.0.0.1:0"])
            .args(["--api", &api.to_string(), "--mesh", &mesh.to_string()])
            .args(more)
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()?;
        Ok(Running { process, api, mesh })
    }

    async fn wait_ready(&self, number: usize) -> io::Result<()> {
        let started = Instant::now();
        while get(self.nodes[number].api, "/readyz", "").await.is_err() {
            if started.elapsed() > PATIENCE {
                let log = fs::read_to_string(self.home(number).join("log")).unwrap_or_default();
                return Err(io::Error::other(format!("node {} does not start: {log}", NAMES[number])));
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        Ok(())
    }

    /// Kills a node.
    pub(crate) fn kill(&mut self, number: usize) -> io::Result<()> {
        self.nodes[number].process.kill()?;
        self.nodes[number].process.wait().map(drop)
    }

    /// Starts a killed node again.
    pub(crate) async fn restart(&mut self, number: usize) -> io::Result<()> {
        let (api, mesh) = (self.nodes[number].api, self.nodes[number].mesh);
        self.nodes[number] = self.spawn(number, api, mesh, &[])?;
        self.wait_ready(number).await
    }

    /// Runs a command of ours against a node; what it prints.
    pub(crate) fn say(&self, number: usize, words: &[&str]) -> io::Result<String> {
        let out = Command::new(&self.program)
            .env("HOME", self.home(number))
            .env("SELVEDGE_API", format!("http://{}", self.nodes[number].api))
            .envs((!self.token.is_empty()).then_some(("SELVEDGE_TOKEN", &self.token)))
            .args(words)
            .output()?;
        if !out.status.success() {
            let said = String::from_utf8_lossy(&out.stderr);
            return Err(io::Error::other(format!("selvedge {}: {said}", words.join(" "))));
        }
        Ok(String::from_utf8_lossy(&out.stdout).into_owned())
    }

    fn voters(&self) -> io::Result<serde_json::Value> {
        Ok(serde_json::from_str(&self.say(0, &["get", "voters", "-o", "json"])?)?)
    }

    /// The leader's number, as that node says.
    pub(crate) async fn leader(&self, asked: usize) -> io::Result<Option<usize>> {
        let text = get(self.nodes[asked].api, "/v1/voters", &self.token).await?;
        let voters: serde_json::Value = serde_json::from_str(&text)?;
        let name = voters["leader"].as_str().unwrap_or_default();
        Ok(NAMES.iter().position(|known| *known == name))
    }

    pub(crate) fn version(&self) -> io::Result<String> {
        let out = Command::new(&self.program).arg("--version").output()?;
        Ok(String::from_utf8_lossy(&out.stdout).trim().to_owned())
    }

    pub(crate) async fn http(&self, number: usize) -> io::Result<Http> {
        Http::connect(self.nodes[number].api, &self.token).await
    }
}

impl Connect for Ours {
    fn client(&self, voter: Option<usize>) -> Doing<'_, Box<dyn Client>> {
        Box::pin(async move {
            let number = match voter {
                Some(number) => number,
                None => self.leader(0).await?.ok_or_else(|| io::Error::other("no node leads"))?,
            };
            Ok(Box::new(self.http(number).await?) as Box<dyn Client>)
        })
    }

    fn flushes(&self) -> Doing<'_, u64> {
        Box::pin(async move {
            let mut all = 0;
            for node in &self.nodes {
                let text = get(node.api, "/metrics", &self.token).await?;
                all += metric(&text, "selvedge_wal_flushes_total").unwrap_or(0.0) as u64;
            }
            Ok(all)
        })
    }

    fn cpu(&self) -> Duration {
        self.nodes.iter().map(|node| cpu_time(node.process.id())).sum()
    }
}

/// A connection to a node's API.
pub(crate) struct Http {
    stream: TcpStream,
    head: String,
    buffer: Vec<u8>,
}

impl Http {
    pub(crate) async fn connect(api: SocketAddr, token: &str) -> io::Result<Self> {
        let stream = TcpStream::connect(api).await?;
        stream.set_nodelay(true)?;
        let head = format!("Host: {api}\r\nAuthorization: Bearer {token}\r\n");
        Ok(Http { stream, head, buffer: Vec::with_capacity(4096) })
    }

    /// Sends a request and reads the answer's head and, if its length is stated, its content.
    pub(crate) async fn ask(&mut self, method: &str, target: &str, body: &str) -> io::Result<(u16, &[u8])> {
        self.send(method, target, "application/json", body).await
    }

    /// The same, with content of any kind.
    pub(crate) async fn send(
        &mut self,
        method: &str,
        target: &str,
        kind: &str,
        body: &str,
    ) -> io::Result<(u16, &[u8])> {
        let (head, length) = (&self.head, body.len());
        let request = format!(
            "{method} {target} HTTP/1.1\r\n{head}Content-Type: {kind}\r\nContent-Length: {length}\r\n\r\n{body}"
        );
        self.stream.write_all(request.as_bytes()).await?;
        self.buffer.clear();
        let end = loop {
            if let Some(end) = memchr::memmem::find(&self.buffer, b"\r\n\r\n") {
                break end + 4;
            }
            self.more().await?;
        };
        let head = String::from_utf8_lossy(&self.buffer[..end]).to_ascii_lowercase();
        let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or(0);
        let length =
            head.split("content-length:").nth(1).and_then(|rest| rest.lines().next()?.trim().parse().ok());
        let length: usize = length.unwrap_or(0);
        while self.buffer.len() < end + length {
            self.more().await?;
        }
        Ok((status, &self.buffer[end..]))
    }

    /// What comes next of an answer without an end.
    pub(crate) async fn more(&mut self) -> io::Result<()> {
        match self.stream.read_buf(&mut self.buffer).await? {
            0 => Err(io::ErrorKind::UnexpectedEof.into()),
            _ => Ok(()),
        }
    }

    /// What was read and not yet taken.
    pub(crate) fn taken(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.buffer)
    }

    pub(crate) async fn put(&mut self, key: &str, value: &[u8]) -> io::Result<u16> {
        let value = String::from_utf8_lossy(value);
        let body = format!("{{\"key\":\"{key}\",\"value\":\"{value}\"}}");
        Ok(self.ask("POST", &format!("{SPACE}/put"), &body).await?.0)
    }
}

impl Client for Http {
    fn act<'a>(&'a mut self, action: Action, key: &'a str, value: &'a [u8]) -> Doing<'a, ()> {
        Box::pin(async move {
            let status = match action {
                Action::Put => self.put(key, value).await?,
                Action::Read | Action::Local => {
                    let level = if action == Action::Local { ",\"read\":\"local\"" } else { "" };
                    let body = format!("{{\"key\":\"{key}\"{level}}}");
                    let (status, content) = self.ask("POST", &format!("{SPACE}/range"), &body).await?;
                    let found = memchr::memmem::find(content, b"\"value\":").is_some();
                    if found { status } else { 404 }
                }
            };
            if status == 200 {
                Ok(())
            } else {
                Err(io::Error::other(format!("{action:?} was answered {status}")))
            }
        })
    }
}

/// What a GET is answered with, if that is 200.
pub(crate) async fn get(address: SocketAddr, target: &str, token: &str) -> io::Result<String> {
    let mut stream = TcpStream::connect(address).await?;
    let request = format!(
        "GET {target} HTTP/1.1\r\nHost: {address}\r\nAuthorization: Bearer {token}\r\nConnection: close\r\n\r\n"
    );
    stream.write_all(request.as_bytes()).await?;
    let mut all = Vec::new();
    stream.read_to_end(&mut all).await?;
    let text = String::from_utf8_lossy(&all);
    match text.split_once("\r\n\r\n") {
        Some((head, body)) if head.starts_with("HTTP/1.1 200") => Ok(body.to_owned()),
        _ => Err(io::Error::other(format!(
            "{target} was answered {}",
            text.lines().next().unwrap_or("nothing")
        ))),
    }
}

/// The sum of a metric's values in Prometheus text.
pub(crate) fn metric(text: &str, name: &str) -> Option<f64> {
    let values = text.lines().filter_map(|line| {
        let rest = line.strip_prefix(name)?;
        let is_it = rest.starts_with(' ') || rest.starts_with('{');
        is_it.then(|| rest.rsplit(' ').next()?.parse::<f64>().ok())?
    });
    values.fold(None, |sum, value| Some(sum.unwrap_or(0.0) + value))
}

fn free_udp() -> io::Result<SocketAddr> {
    std::net::UdpSocket::bind("127.0.0.1:0")?.local_addr()
}
