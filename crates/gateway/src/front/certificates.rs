//! Certificates by host, read from files again when those change.

use arc_swap::ArcSwap;
use rcgen::{Certificate, CertificateParams, DnType, KeyPair};
use rustls::client::verify_server_name;
use rustls::server::{ClientHello, ParsedCertificate, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use selvedge_rt::{Tasks, read_operator_file};
use std::collections::HashMap;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// No chain or key file is larger.
const FILE_BYTES_MAX: u64 = 1 << 20;
/// How often files are looked at.
const RELOAD_EVERY: Duration = Duration::from_secs(10);

/// A certificate chain and its key, in PEM files, for some hosts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CertificateFiles {
    /// Exact names, or `*.` and a name for the names one label below it (RFC 9525 section 6.3).
    pub hosts: Vec<String>,
    /// The chain, the host's own certificate first.
    pub chain: PathBuf,
    /// The private key: PKCS#8, PKCS#1 or SEC1.
    pub key: PathBuf,
}

/// Why a certificate cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum CertificateError {
    /// A file cannot be read.
    #[error("{path} cannot be read: {source}")]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A file does not hold what it should.
    #[error("{path} holds no PEM {what} ({source})")]
    Pem {
        /// The file.
        path: PathBuf,
        /// What was looked for.
        what: &'static str,
        /// Why it was not found.
        source: rustls_pki_types::pem::Error,
    },
    /// Chain and key do not fit, or the key is of a kind that cannot sign.
    #[error("the certificate in {path} cannot be used with its key: {source}")]
    Key {
        /// The chain's file.
        path: PathBuf,
        /// Why.
        source: rustls::Error,
    },
    /// A self-signed certificate cannot be made.
    #[error("a self-signed certificate cannot be made: {0}")]
    SelfSigned(rcgen::Error),
    /// The TLS library refused its configuration.
    #[error("TLS cannot be set up: {0}")]
    Tls(rustls::Error),
}

/// The certificates of a node. Clones share them; changes count for the next handshake.
#[derive(Clone, Default)]
pub struct Certificates(Arc<Store>);

#[derive(Default)]
struct Store {
    /// Changed only by whoever has `files`.
    table: ArcSwap<Table>,
    files: Mutex<Files>,
}

/// What the table is made of.
#[derive(Default)]
struct Files {
    wanted: Vec<CertificateFiles>,
    loaded: Vec<Loaded>,
    /// What is wrong with those wanted that cannot be used.
    problems: Vec<String>,
}

#[derive(Default)]
struct Table {
    by_host: HashMap<String, Arc<CertifiedKey>>,
    /// For clients that name no host, or one without a certificate.
    fallback: Option<Arc<CertifiedKey>>,
}

#[derive(Clone)]
struct Loaded {
    files: CertificateFiles,
    chain_pem: Vec<u8>,
    key_pem: Vec<u8>,
    key: Arc<CertifiedKey>,
}

impl Certificates {
    /// None yet: every handshake fails.
    pub fn new() -> Certificates {
        Certificates::default()
    }

    /// Uses the certificates in `wanted` instead of those before. Those that cannot be used are left out and
    /// returned; where the same files were used before, what they held then stays. Blocks on the disk.
    pub fn set(&self, wanted: Vec<CertificateFiles>) -> Vec<CertificateError> {
        let mut files = self.0.files.lock().unwrap_or_else(PoisonError::into_inner);
        files.wanted = wanted;
        self.read(&mut files)
    }

    /// Reads the files again, also those that could not be used; what changed is used from now on. Blocks on the
    /// disk.
    pub fn reload(&self) -> Vec<CertificateError> {
        self.read(&mut self.0.files.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn read(&self, files: &mut Files) -> Vec<CertificateError> {
        let errors = files.read();
        let by_host = table_of(&files.loaded);
        let fallback = self.0.table.load().fallback.clone();
        self.0.table.store(Arc::new(Table { by_host, fallback }));
        errors
    }

    /// What is wrong with those that cannot be used, as of the last time that their files were read.
    pub fn problems(&self) -> Vec<String> {
        self.0.files.lock().unwrap_or_else(PoisonError::into_inner).problems.clone()
    }

    /// Answers hosts without a certificate, too, with one made here for `hosts`, which no client trusts unasked.
    pub fn set_self_signed_fallback(&self, hosts: Vec<String>) -> Result<(), CertificateError> {
        let signing_key = KeyPair::generate().map_err(CertificateError::SelfSigned)?;
        let made = self_signed(hosts, &signing_key).map_err(CertificateError::SelfSigned)?;
        let chain = vec![made.der().clone()];
        let key = PrivateKeyDer::Pkcs8(signing_key.serialize_der().into());
        let provider = rustls::crypto::ring::default_provider();
        let fallback = CertifiedKey::from_der(chain, key, &provider).map_err(CertificateError::Tls)?;
        // Whoever changes the table has the files.
        let _files = self.0.files.lock().unwrap_or_else(PoisonError::into_inner);
        let by_host = self.0.table.load().by_host.clone();
        self.0.table.store(Arc::new(Table { by_host, fallback: Some(Arc::new(fallback)) }));
        Ok(())
    }

    /// Reads the files again every ten seconds, until `tasks` are told to stop.
    pub async fn watch(self, tasks: Tasks) {
        loop {
            tokio::select! {
                () = tokio::time::sleep(RELOAD_EVERY) => {}
                () = tasks.stopped() => return,
            }
            let certificates = self.clone();
            let reload = move || drop(certificates.reload());
            if let Err(error) = tasks.blocking("certificate reload", reload).await {
                tracing::warn!(%error, "certificates not reloaded");
            }
        }
    }

    pub(crate) fn resolver(&self) -> Arc<dyn ResolvesServerCert> {
        Arc::new(self.clone())
    }

    /// What a client that named `host` was shown, unless it was the fallback.
    pub(crate) fn shown(&self, host: Option<&str>) -> Option<Shown> {
        let key = self.0.table.load().named(host?)?;
        Some(Shown { key, all: self.clone(), covered: Mutex::default() })
    }

    fn find(&self, host: Option<&str>) -> Option<Arc<CertifiedKey>> {
        let table = self.0.table.load();
        host.and_then(|host| table.named(host)).or_else(|| table.fallback.clone())
    }
}

impl Table {
    fn named(&self, host: &str) -> Option<Arc<CertifiedKey>> {
        let host = host.to_ascii_lowercase();
        let wildcard = || host.split_once('.').map(|(_, parent)| format!("*.{parent}"));
        let exact = self.by_host.get(&host);
        exact.or_else(|| wildcard().and_then(|name| self.by_host.get(&name))).cloned()
    }
}

/// The certificate that a connection's client was shown.
pub(crate) struct Shown {
    key: Arc<CertifiedKey>,
    all: Certificates,
    /// The host that was last found to be covered.
    covered: Mutex<String>,
}

impl Shown {
    /// Whether a client may take an answer for `host` from this connection (RFC 9110 section 4.3.3): the certificate
    /// names it, or the operator uses it for that host whatever it names. What cannot be checked, such as an address
    /// in brackets, is not refused.
    pub(crate) fn covers(&self, host: &str) -> bool {
        let mut covered = self.covered.lock().unwrap_or_else(PoisonError::into_inner);
        if *covered == host {
            return true;
        }
        let is_used = self.all.0.table.load().named(host).is_some_and(|used| Arc::ptr_eq(&used, &self.key));
        let covers = is_used || self.names(host);
        if covers {
            host.clone_into(&mut covered);
        }
        covers
    }

    fn names(&self, host: &str) -> bool {
        let (Some(end_entity), Ok(name)) = (self.key.cert.first(), ServerName::try_from(host)) else {
            return true;
        };
        ParsedCertificate::try_from(end_entity)
            .map_or(true, |parsed| verify_server_name(&parsed, &name).is_ok())
    }
}

impl ResolvesServerCert for Certificates {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        self.find(hello.server_name())
    }
}

impl fmt::Debug for Certificates {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.table.load().by_host.keys()).finish()
    }
}

impl Files {
    /// Reads all that are wanted.
    fn read(&mut self) -> Vec<CertificateError> {
        let mut errors = Vec::new();
        let mut now = Vec::new();
        self.problems.clear();
        for files in self.wanted.clone() {
            let before =
                self.loaded.iter().position(|l| l.files.chain == files.chain && l.files.key == files.key);
            match (Loaded::read(&files, before.and_then(|i| self.loaded.get(i))), before) {
                (Ok(read), _) => now.push(read),
                (Err(error), before) => {
                    self.problems.push(format!("the certificate for {}: {error}", files.hosts.join(", ")));
                    errors.push(error);
                    // Other hosts may have the same files.
                    let before = before.and_then(|i| self.loaded.get(i)).cloned();
                    now.extend(before.map(|before| Loaded { files, ..before }));
                }
            }
        }
        self.loaded = now;
        errors
    }
}

/// The first certificate named for a host wins.
fn table_of(loaded: &[Loaded]) -> HashMap<String, Arc<CertifiedKey>> {
    let mut by_host = HashMap::new();
    for (host, key) in loaded.iter().flat_map(|l| l.files.hosts.iter().map(|host| (host, &l.key))) {
        by_host.entry(host.to_ascii_lowercase()).or_insert_with(|| key.clone());
    }
    by_host
}

impl Loaded {
    /// Reads the files; what was made of the same bytes before is used again.
    fn read(files: &CertificateFiles, before: Option<&Loaded>) -> Result<Loaded, CertificateError> {
        let (chain_pem, key_pem) = (read(&files.chain)?, read(&files.key)?);
        let same = before.filter(|b| b.chain_pem == chain_pem && b.key_pem == key_pem);
        let key = match same {
            Some(before) => before.key.clone(),
            None => Arc::new(certified_key(files, &chain_pem, &key_pem)?),
        };
        Ok(Loaded { files: files.clone(), chain_pem, key_pem, key })
    }
}

fn read(path: &Path) -> Result<Vec<u8>, CertificateError> {
    read_operator_file(path, FILE_BYTES_MAX)
        .map_err(|source| CertificateError::Read { path: path.to_owned(), source })
}

fn certified_key(
    files: &CertificateFiles,
    chain_pem: &[u8],
    key_pem: &[u8],
) -> Result<CertifiedKey, CertificateError> {
    let pem = |path: &Path, what| {
        let path = path.to_owned();
        move |source| CertificateError::Pem { path, what, source }
    };
    let chain: Vec<CertificateDer<'static>> = CertificateDer::pem_slice_iter(chain_pem)
        .collect::<Result<_, _>>()
        .map_err(pem(&files.chain, "certificate"))?;
    if chain.is_empty() {
        let source = rustls_pki_types::pem::Error::NoItemsFound;
        return Err(pem(&files.chain, "certificate")(source));
    }
    let key = PrivateKeyDer::from_pem_slice(key_pem).map_err(pem(&files.key, "private key"))?;
    let provider = rustls::crypto::ring::default_provider();
    CertifiedKey::from_der(chain, key, &provider)
        .map_err(|source| CertificateError::Key { path: files.chain.clone(), source })
}
/// A certificate that nobody vouches for, with a name that says where it comes from.
fn self_signed(hosts: Vec<String>, key: &KeyPair) -> Result<Certificate, rcgen::Error> {
    let mut params = CertificateParams::new(hosts)?;
    params.distinguished_name.push(DnType::OrganizationName, "Selvedge");
    params.distinguished_name.push(DnType::CommonName, "Selvedge self-signed certificate");
    params.self_signed(key)
}
