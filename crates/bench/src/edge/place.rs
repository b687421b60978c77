//! Where a race is run: cores, a directory of its own, a certificate.

use std::fs;
use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use rustix::thread::{CpuSet, sched_setaffinity};
use rustls::pki_types::CertificateDer;
use rustls::{ClientConfig, RootCertStore};
use tempfile::TempDir;

use crate::load::HOST;

/// The directory, the cores and the certificate that all contenders share.
pub struct Place {
    directory: TempDir,
    certificate: CertificateDer<'static>,
    /// The core that servers are pinned to.
    pub server_core: usize,
    /// The core that load and origin are pinned to.
    pub load_core: usize,
}

impl Place {
    /// Makes a directory under `parent` (or the system's) with a new certificate for [`HOST`],
    /// and pins this thread, and so the load, to its core.
    ///
    /// # Errors
    /// When a file cannot be written or a core does not exist.
    pub fn prepare(parent: Option<&Path>, server_core: usize, load_core: usize) -> io::Result<Self> {
        pin(Some(server_core))?;
        pin(Some(load_core))?;
        allow_many_files();
        let mut builder = tempfile::Builder::new();
        let directory = match parent {
            Some(parent) => builder.prefix("edge-race").tempdir_in(parent)?,
            None => builder.prefix("edge-race").tempdir()?,
        };
        let certified = rcgen::generate_simple_self_signed([HOST.to_owned()]).map_err(io::Error::other)?;
        fs::write(directory.path().join("cert.pem"), certified.cert.pem())?;
        fs::write(directory.path().join("key.pem"), certified.signing_key.serialize_pem())?;
        let certificate = certified.cert.der().clone();
        Ok(Self { directory, certificate, server_core, load_core })
    }

    /// The certificate's file.
    #[must_use]
    pub fn certificate_file(&self) -> PathBuf {
        self.directory.path().join("cert.pem")
    }

    /// The key's file.
    #[must_use]
    pub fn key_file(&self) -> PathBuf {
        self.directory.path().join("key.pem")
    }

    /// A new, empty directory for one start of a contender.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn new_directory(&self, name: &str) -> io::Result<TempDir> {
        tempfile::Builder::new().prefix(name).tempdir_in(self.directory.path())
    }

    /// A TLS client that trusts the certificate and offers HTTP/1.1.
    ///
    /// # Errors
    /// When the certificate cannot be a trust anchor.
    pub fn tls_client(&self) -> io::Result<Arc<ClientConfig>> {
        let mut roots = RootCertStore::empty();
        roots.add(self.certificate.clone()).map_err(io::Error::other)?;
        let mut config = ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Arc::new(config))
    }
}

/// Pins the calling thread, and what it starts, to a core.
///
/// # Errors
/// When the core does not exist.
pub fn pin(core: Option<usize>) -> io::Result<()> {
    let Some(core) = core else { return Ok(()) };
    if core >= CpuSet::MAX_CPU {
        return Err(io::Error::other(format!("no core {core}")));
    }
    let mut set = CpuSet::new();
    set.set(core);
    sched_setaffinity(None, &set)
        .map_err(|e| io::Error::other(format!("cannot use core {core}: {e}; a race needs two cores")))
}

/// A loopback address whose port nobody uses now.
///
/// # Errors
/// When no port is free.
pub fn free_address() -> io::Result<SocketAddr> {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()
}

/// Raises the limit of open files as far as it may be raised, for this process and its children.
fn allow_many_files() {
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    if setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }).is_err() {
        eprintln!("edge: the limit of open files stays as it is; many connections may fail");
    }
}
