//! Three members of etcd, with its defaults.

use std::fs::File;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use super::PATIENCE;
use super::client::{Client, Connect, Doing};
use super::grpc::Grpc;
use super::ours::{get, metric};
use crate::edge::process::cpu_time;

pub(crate) struct Etcd {
    members: Vec<Member>,
}

struct Member {
    process: Child,
    clients: SocketAddr,
}

impl Drop for Member {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl Etcd {
    pub(crate) async fn start(place: &Path) -> io::Result<Self> {
        let addresses: Vec<(SocketAddr, SocketAddr)> =
            (0..3).map(|_| Ok((free()?, free()?))).collect::<io::Result<_>>()?;
        let cluster: Vec<String> =
            addresses.iter().enumerate().map(|(n, (_, peers))| format!("e{n}=http://{peers}")).collect();
        let mut members = Vec::new();
        for (n, (clients, peers)) in addresses.iter().enumerate() {
            let log = File::create(place.join(format!("etcd-{n}.log")))?;
            let process = Command::new("etcd")
                .args(["--name", &format!("e{n}"), "--log-level", "error"])
                .arg("--data-dir")
                .arg(place.join(format!("etcd-{n}")))
                .args(["--listen-client-urls", &format!("http://{clients}")])
                .args(["--advertise-client-urls", &format!("http://{clients}")])
                .args(["--listen-peer-urls", &format!("http://{peers}")])
                .args(["--initial-advertise-peer-urls", &format!("http://{peers}")])
                .args(["--initial-cluster", &cluster.join(","), "--initial-cluster-state", "new"])
                .stdin(Stdio::null())
                .stdout(log.try_clone()?)
                .stderr(log)
                .spawn()?;
            members.push(Member { process, clients: *clients });
        }
        let etcd = Etcd { members };
        let started = Instant::now();
        while etcd.leader().await.is_none() {
            if started.elapsed() > PATIENCE {
                return Err(io::Error::other("etcd has no leader; see its logs"));
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        Ok(etcd)
    }

    pub(crate) fn version(&self) -> io::Result<String> {
        let out = Command::new("etcd").arg("--version").output()?;
        Ok(String::from_utf8_lossy(&out.stdout).lines().next().unwrap_or_default().to_owned())
    }

    async fn leader(&self) -> Option<SocketAddr> {
        for member in &self.members {
            let text = get(member.clients, "/metrics", "").await.ok()?;
            if metric(&text, "etcd_server_is_leader") == Some(1.0) {
                return Some(member.clients);
            }
        }
        None
    }
}

impl Connect for Etcd {
    fn client(&self, voter: Option<usize>) -> Doing<'_, Box<dyn Client>> {
        Box::pin(async move {
            let address = match voter {
                Some(voter) => self.members[voter].clients,
                None => self.leader().await.ok_or_else(|| io::Error::other("etcd has no leader"))?,
            };
            Ok(Box::new(Grpc::connect(address).await?) as Box<dyn Client>)
        })
    }

    fn flushes(&self) -> Doing<'_, u64> {
        Box::pin(async move {
            let mut all = 0;
            for member in &self.members {
                let text = get(member.clients, "/metrics", "").await?;
                all += metric(&text, "etcd_disk_wal_fsync_duration_seconds_count").unwrap_or(0.0) as u64;
            }
            Ok(all)
        })
    }

    fn cpu(&self) -> Duration {
        self.members.iter().map(|member| cpu_time(member.process.id())).sum()
    }
}

/// An address that was free a moment ago.
pub(crate) fn free() -> io::Result<SocketAddr> {
    TcpListener::bind("127.0.0.1:0")?.local_addr()
}
