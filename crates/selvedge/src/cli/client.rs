//! The API's client: requests in, typed answers or failures with the right exit code out.

use super::http::{ClientError, Endpoint};
use super::{Exit, Failure, context, print};
use bytes::Bytes;
use clap::Args;
use http_body_util::{BodyExt, Limited};
use hyper::Response;
use hyper::body::Incoming;
use selvedge_control::Problem;
use selvedge_control::wire::Ready;
use selvedge_rt::Tasks;
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::future::Future;
use std::path::PathBuf;
use std::time::Duration;

/// The largest answer that is read whole, in bytes.
const ANSWER_BYTES_MAX: usize = 256 << 20;
/// How long an answer may take.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(60);
/// How often it is looked whether what is printed is still read, while nothing comes.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// Which API to ask.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "API")]
pub struct ApiArgs {
    /// The API's URL [default: from the context file that `dev` and `up` leave]
    #[arg(long, env = "SELVEDGE_API", value_name = "URL")]
    pub api: Option<String>,
    /// The token's secret; better given by the environment than on a command line
    #[arg(long, env = "SELVEDGE_TOKEN", value_name = "SECRET", hide_env_values = true)]
    pub token: Option<String>,
    /// The data directory of a node on this machine, with its context file
    #[arg(long, env = "SELVEDGE_DATA", value_name = "DIR")]
    pub data: Option<PathBuf>,
}

/// A client of one API.
pub(super) struct Client {
    endpoint: Endpoint,
    authorization: String,
    url: String,
    tasks: Tasks,
    runtime: tokio::runtime::Runtime,
}

/// Why no more of an answer is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    /// It was enough, or nobody reads it any more.
    Stopped,
    /// The node sent no more.
    Answer,
}

impl End {
    /// For what a node ends only when it stops.
    pub(super) fn stopped(self) -> Result<Exit, Failure> {
        match self {
            End::Stopped => Ok(Exit::Done),
            End::Answer => Err(Failure::new(Exit::Unreachable, "the node stops: nothing more comes from it")
                .next("ask another node, or this one again when it is back")),
        }
    }
}

/// Whether a lost answer leaves it open what happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Effect {
    Reads,
    Changes,
}

impl Client {
    /// A client for the API that flags, environment or context file name.
    pub(super) fn find(args: &ApiArgs) -> Result<Self, Failure> {
        let found = context::find(args.api.as_deref(), args.token.as_deref(), args.data.as_deref())?;
        let endpoint = Endpoint::parse(&found.api).ok_or_else(|| {
            Failure::usage(format!("{:?} is not the URL of an API", found.api))
                .next("write it as http://127.0.0.1:7070")
        })?;
        let authorization = format!("Bearer {}", found.token);
        Ok(Client { endpoint, authorization, url: found.api, tasks: Tasks::real(), runtime: runtime()? })
    }

    /// Reads from the API.
    pub(super) fn get<T: DeserializeOwned>(&self, target: &str) -> Result<T, Failure> {
        self.typed("GET", target, None, Bytes::new(), Effect::Reads)
    }

    /// How a node is that knows no tokens at present.
    pub(super) fn ready(&self) -> Result<Ready, Failure> {
        self.runtime.block_on(async {
            let response = self.send("GET", "/readyz", None, Bytes::new(), Effect::Reads).await?;
            let bytes = self.bytes(response, Effect::Reads).await?;
            understood(&bytes)
        })
    }

    /// Asks the API something that has a body and changes nothing.
    pub(super) fn ask<B: Serialize, T: DeserializeOwned>(
        &self,
        target: &str,
        body: &B,
    ) -> Result<T, Failure> {
        self.typed("POST", target, Some("application/json"), json(body)?, Effect::Reads)
    }

    /// Changes something.
    pub(super) fn change<B: Serialize, T: DeserializeOwned>(
        &self,
        target: &str,
        body: &B,
    ) -> Result<T, Failure> {
        self.typed("POST", target, Some("application/json"), json(body)?, Effect::Changes)
    }

    /// Sends a manifest to be compared with what is.
    pub(super) fn plan<T: DeserializeOwned>(&self, manifest: String) -> Result<T, Failure> {
        self.typed("POST", "/v1/plan", Some("application/toml"), manifest.into(), Effect::Reads)
    }

    /// Sends a manifest to be made so.
    pub(super) fn apply<T: DeserializeOwned>(&self, target: &str, manifest: String) -> Result<T, Failure> {
        self.typed("POST", target, Some("application/toml"), manifest.into(), Effect::Changes)
    }

    /// Has something done that needs no words.
    pub(super) fn post(&self, target: &str) -> Result<(), Failure> {
        self.runtime.block_on(async {
            let response = self.send("POST", target, None, Bytes::new(), Effect::Changes).await?;
            self.whole(response, Effect::Changes).await.map(|_| ())
        })
    }

    /// Deletes something.
    pub(super) fn delete(&self, target: &str) -> Result<(), Failure> {
        self.runtime.block_on(async {
            let response = self.send("DELETE", target, None, Bytes::new(), Effect::Changes).await?;
            self.whole(response, Effect::Changes).await.map(|_| ())
        })
    }

    /// Reads an answer that has no end, piece by piece, until `each` says to stop, or nobody reads what is printed.
    pub(super) fn stream(
        &self,
        target: &str,
        each: impl FnMut(&[u8]) -> Result<bool, Failure>,
    ) -> Result<End, Failure> {
        self.read_on("GET", target, None, Bytes::new(), each, print::is_read)
    }

    /// Reads an answer to its end, piece by piece.
    pub(super) fn download(
        &self,
        target: &str,
        mut each: impl FnMut(&[u8]) -> Result<(), Failure>,
    ) -> Result<(), Failure> {
        let each = |piece: &[u8]| each(piece).map(|()| true);
        self.read_on("GET", target, None, Bytes::new(), each, || true).map(|_| ())
    }

    /// The same of what a body asks for, which changes nothing.
    pub(super) fn stream_of<B: Serialize>(
        &self,
        target: &str,
        body: &B,
        each: impl FnMut(&[u8]) -> Result<bool, Failure>,
    ) -> Result<End, Failure> {
        self.read_on("POST", target, Some("application/json"), json(body)?, each, print::is_read)
    }

    fn read_on(
        &self,
        method: &str,
        target: &str,
        kind: Option<&str>,
        body: Bytes,
        mut each: impl FnMut(&[u8]) -> Result<bool, Failure>,
        is_wanted: impl Fn() -> bool,
    ) -> Result<End, Failure> {
        self.runtime.block_on(async {
            let response = self.send(method, target, kind, body, Effect::Reads).await?;
            if !response.status().is_success() {
                self.whole(response, Effect::Reads).await?;
                return Ok(End::Answer);
            }
            let mut body = response.into_body();
            loop {
                // Nothing may come for hours, and who reads it may go.
                let Ok(frame) = tokio::time::timeout(LOOK_EVERY, body.frame()).await else {
                    if is_wanted() {
                        continue;
                    }
                    return Ok(End::Stopped);
                };
                let Some(frame) = frame else { return Ok(End::Answer) };
                let frame = frame.map_err(|e| self.lost(e, Effect::Reads))?;
                if let Ok(data) = frame.into_data()
                    && !(each(&data)? && is_wanted())
                {
                    return Ok(End::Stopped);
                }
            }
        })
    }

    fn typed<T: DeserializeOwned>(
        &self,
        method: &str,
        target: &str,
        kind: Option<&str>,
        body: Bytes,
        effect: Effect,
    ) -> Result<T, Failure> {
        self.runtime.block_on(async {
            let response = self.send(method, target, kind, body, effect).await?;
            let bytes = self.whole(response, effect).await?;
            understood(&bytes)
        })
    }

    async fn send(
        &self,
        method: &str,
        target: &str,
        kind: Option<&str>,
        body: Bytes,
        effect: Effect,
    ) -> Result<Response<Incoming>, Failure> {
        let mut fields = vec![("authorization", self.authorization.as_str())];
        fields.extend(kind.map(|kind| ("content-type", kind)));
        let answer = async {
            let mut connection = self.endpoint.connect(&self.tasks).await?;
            connection.send(method, target, &fields, body).await
        };
        match timeout(answer).await {
            Some(Ok(response)) => Ok(response),
            Some(Err(ClientError::Lost(e))) => Err(self.lost(e, effect)),
            Some(Err(e @ ClientError::Connect { .. })) => Err(self.unreachable().because(e)),
            Some(Err(e @ ClientError::Invalid(_))) => {
                Err(Failure::usage("cannot send the request").because(e))
            }
            None => Err(self.lost("no answer within a minute", effect)),
        }
    }

    /// The content of an answer, or the failure that it tells of.
    async fn whole(&self, response: Response<Incoming>, effect: Effect) -> Result<Bytes, Failure> {
        let status = response.status();
        let bytes = self.bytes(response, effect).await?;
        if status.is_success() {
            return Ok(bytes);
        }
        match serde_json::from_slice::<Problem>(&bytes) {
            Ok(problem) => Err(failure(&problem)),
            Err(_) => Err(Failure::failed(format!("{} answered with status {status}", self.url))
                .next("check that SELVEDGE_API names the API of a node")),
        }
    }

    async fn bytes(&self, response: Response<Incoming>, effect: Effect) -> Result<Bytes, Failure> {
        let body = Limited::new(response.into_body(), ANSWER_BYTES_MAX).collect();
        match timeout(body).await {
            Some(Ok(body)) => Ok(body.to_bytes()),
            Some(Err(e)) => Err(self.lost(e, effect)),
            None => Err(self.lost("no answer within a minute", effect)),
        }
    }

    fn unreachable(&self) -> Failure {
        Failure::new(Exit::Unreachable, format!("the API at {} cannot be reached", self.url))
            .next("is the node running? start one with `selvedge dev` or `selvedge up`")
    }

    fn lost(&self, why: impl Into<Box<dyn std::error::Error + Send + Sync>>, effect: Effect) -> Failure {
        match effect {
            Effect::Reads => self.unreachable().because(why),
            Effect::Changes => Failure::new(Exit::Unknown, "whether the change was made is not known")
                .because(why)
                .next("look whether it was before doing it again: `selvedge status`, `get` and `plan` show how things are"),
        }
    }
}

fn understood<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Failure> {
    serde_json::from_slice(bytes).map_err(|e| {
        Failure::failed("the API's answer was not understood")
            .because(e)
            .next("check that the node's version and this program's are the same: `selvedge --version`")
    })
}

/// What a problem means for a command.
fn failure(problem: &Problem) -> Failure {
    let detail = problem.detail();
    let failure = match problem.kind() {
        "unavailable" => Failure::new(Exit::Unreachable, detail),
        "unknown" => Failure::new(Exit::Unknown, detail),
        _ => Failure::failed(detail),
    };
    let failure = match problem.kind() {
        "unauthorized" => {
            failure.next("set SELVEDGE_TOKEN to a token's secret; `selvedge token create` makes one")
        }
        "forbidden" => failure.next(
            "use a token that may: `selvedge token create NAME --role ROLE --namespace NAMESPACE`, or without \
             a namespace for all of them",
        ),
        "conflict" => failure.next("look at the changes with `selvedge plan FILE` and apply again"),
        "refused" => {
            failure.next("nothing was changed; is the disk of the data directory full? then free space")
        }
        "unknown" => failure.next("look whether it was before doing it again: `selvedge status`, `get` and `plan` show how things are"),
        _ => failure,
    };
    let place = |e: &selvedge_control::wire::ManifestProblem| {
        format!("line {}, column {}: {}", e.line, e.column, e.message)
    };
    failure.with(problem.errors().iter().map(|e| Failure::failed(place(e)).next(e.help.clone())).collect())
}

/// A runtime for commands: they do one thing at a time.
pub(super) fn runtime() -> Result<tokio::runtime::Runtime, Failure> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|e| Failure::failed("cannot start the runtime").because(e))
}

async fn timeout<T>(work: impl Future<Output = T>) -> Option<T> {
    tokio::time::timeout(ANSWER_TIMEOUT, work).await.ok()
}

fn json<B: Serialize>(body: &B) -> Result<Bytes, Failure> {
    let bytes =
        serde_json::to_vec(body).map_err(|e| Failure::failed("cannot write the request").because(e))?;
    Ok(bytes.into())
}

/// A value as part of a URL's path or query: all but unreserved characters percent-encoded.
pub(super) fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for b in text.bytes() {
        if b.is_ascii_alphanumeric() || b"-._~".contains(&b) {
            out.push(char::from(b));
        } else {
            out.push_str(&format!("%{b:02X}"));
        }
    }
    out
}
