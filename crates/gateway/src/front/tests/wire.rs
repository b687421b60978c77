//! A front over connections in memory. In virtual time (`start_paused`) nothing is waited for: when all stand still,
//! the clock jumps to the next deadline.

use super::*;
use selvedge_rt::Listener;
use selvedge_rt::net::{SimListener, SimStream};
use std::io;
use std::pin::Pin;
use tokio::io::DuplexStream;
use tokio::sync::{Mutex, mpsc};

/// Bytes that each direction of a connection holds.
const PIPE_BYTES: usize = 64 * 1024;

/// A front that accepts from memory.
pub(super) struct Wired {
    pub(super) front: Arc<Front>,
    pub(super) tasks: Tasks,
    dial: mpsc::UnboundedSender<DuplexStream>,
}

impl Wired {
    pub(super) fn start(
        options: FrontOptions,
        handler: impl Fn(Request) -> Reply + Send + Sync + 'static,
    ) -> Wired {
        let front = Front::new(Arc::new(Closure(handler)), options, Clock::real(), &Registry::default());
        let (dial, dialled) = mpsc::unbounded_channel();
        let listener = Listener::Sim(Arc::new(Dialled(Mutex::new(dialled))));
        let tasks = Tasks::real();
        let serve = front.clone().serve(listener, Endpoint::default(), tasks.clone());
        tasks.spawn("listener", selvedge_rt::OnEnd::Forget, serve);
        Wired { front, tasks, dial }
    }

    pub(super) fn connect(&self) -> DuplexStream {
        self.connect_narrow(PIPE_BYTES)
    }

    /// A connection that holds `bytes` of each direction.
    pub(super) fn connect_narrow(&self, bytes: usize) -> DuplexStream {
        let (ours, theirs) = tokio::io::duplex(bytes);
        self.dial.send(theirs).unwrap();
        ours
    }

    /// What comes back until the server closes, after `wire` was sent.
    pub(super) async fn exchange(&self, wire: impl AsRef<[u8]>) -> String {
        let mut stream = self.connect();
        // Fails when the server has seen enough and closed.
        let _ = stream.write_all(wire.as_ref()).await;
        read_all(&mut stream).await
    }
}

struct Dialled(Mutex<mpsc::UnboundedReceiver<DuplexStream>>);

type Accepted<'a> = Pin<Box<dyn Future<Output = io::Result<(Box<dyn SimStream>, SocketAddr)>> + Send + 'a>>;

impl SimListener for Dialled {
    fn accept(&self) -> Accepted<'_> {
        Box::pin(async {
            match self.0.lock().await.recv().await {
                Some(stream) => {
                    Ok((Box::new(stream) as Box<dyn SimStream>, "192.0.2.1:1234".parse().unwrap()))
                }
                None => std::future::pending().await,
            }
        })
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        Ok("192.0.2.2:80".parse().unwrap())
    }
}
