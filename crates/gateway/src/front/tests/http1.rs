//! HTTP/1.1 as clients see it.

use super::*;
use selvedge_exchange::{Finish, Interim, Later, Sent};
use std::sync::Mutex;
use tokio::sync::{mpsc, oneshot};

#[tokio::test]
async fn pipelined_requests_are_answered_in_order_whatever_they_wait_for() {
    let server = Server::start(|request| {
        if request.target.starts_with("/later") { echo(request) } else { Reply::Now(ok(request.target)) }
    })
    .await;
    let wire = "GET /1 HTTP/1.1\r\nHost: a\r\n\r\n\
        POST /later HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nhi\
        GET /2 HTTP/1.1\r\nHost: a\r\n\r\n\
        GET /3 HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";
    for split in [1, 7, 1000] {
        let mut stream = server.connect().await;
        for piece in wire.as_bytes().chunks(split) {
            stream.write_all(piece).await.unwrap();
            tokio::task::yield_now().await;
        }
        let response = |content: &str, close: &str| {
            format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n{close}\r\n{content}", content.len())
        };
        let expected = [
            response("/1", ""),
            response("POST a/later hi", ""),
            response("/2", ""),
            response("/3", "connection: close\r\n"),
        ];
        assert_eq!(undated(&read_all(&mut stream).await), expected.concat(), "{split}");
    }
}

#[tokio::test]
async fn a_date_is_added_unless_there_is_one() {
    let server = Server::start(|request| {
        let mut response = ok("x");
        if request.target == "/own" {
            response.fields = fields("Date: Sun, 06 Nov 1994 08:49:37 GMT\r\n");
        }
        Reply::Now(response)
    })
    .await;
    for target in ["/", "/own"] {
        let all =
            server.exchange(format!("GET {target} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")).await;
        assert_eq!(all.to_ascii_lowercase().matches("\r\ndate: ").count(), 1, "{all}");
        assert_eq!(all.contains("08:49:37"), target == "/own", "{all}");
    }
}

#[tokio::test]
async fn http10_connections_close_unless_asked_to_stay() {
    let server = Server::start(|request| {
        let mut response = ok("x");
        if request.target == "/stream" {
            response.body = stream(vec![data("ab"), data("cd")], None);
        }
        Reply::Now(response)
    })
    .await;
    for (wire, end) in [
        ("GET / HTTP/1.0\r\n\r\n", "content-length: 1\r\nconnection: close\r\n\r\nx"),
        ("GET /stream HTTP/1.0\r\nConnection: keep-alive\r\n\r\n", "200 OK\r\nconnection: close\r\n\r\nabcd"),
    ] {
        let all = undated(&server.exchange(wire).await);
        assert!(all.ends_with(end), "{all}");
    }
    let mut stream = server.connect().await;
    for _ in 0..2 {
        stream.write_all(b"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n").await.unwrap();
        let all = undated(&read_until(&mut stream, "\r\n\r\nx").await);
        assert!(all.contains("connection: keep-alive\r\n"), "{all}");
    }
}

#[tokio::test]
async fn streams_are_chunked_with_trailers_or_sent_as_long_as_promised() {
    let server = Server::start(|request| {
        let mut response = Response::new(Status::OK);
        response.body = match request.target.as_str() {
            "/length" => stream(vec![data("ab"), data("cd")], Some(4)),
            _ => stream(vec![data("ab"), data("cd"), Ok(Frame::Trailers(fields("X-Sum: 1\r\n")))], None),
        };
        Reply::Now(response)
    })
    .await;
    for (target, end) in [
        ("/length", "content-length: 4\r\nconnection: close\r\n\r\nabcd"),
        (
            "/chunked",
            "transfer-encoding: chunked\r\nconnection: close\r\n\r\n2\r\nab\r\n2\r\ncd\r\n0\r\nX-Sum: 1\r\n\r\n",
        ),
    ] {
        let wire = format!("GET {target} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
        let all = undated(&server.exchange(wire).await);
        assert!(all.ends_with(end), "{all}");
    }
}

#[tokio::test]
async fn content_that_is_not_what_was_promised_cuts_the_connection() {
    let server = Server::start(|request| {
        let mut response = Response::new(Status::OK);
        response.body = match request.target.as_str() {
            "/short" => stream(vec![data("ab")], Some(4)),
            "/long" => stream(vec![data("abcdef")], Some(4)),
            _ => stream(vec![data("ab"), Err(BodyError::Incomplete)], None),
        };
        Reply::Now(response)
    })
    .await;
    for target in ["/short", "/long", "/error"] {
        let wire = format!("GET {target} HTTP/1.1\r\nHost: a\r\n\r\nGET /next HTTP/1.1\r\nHost: a\r\n\r\n");
        let all = server.exchange(wire).await;
        assert!(!all.contains("abcdef") && !all.contains("\r\n0\r\n"), "{target}: {all}");
        assert!(all.matches("HTTP/1.1 200").count() <= 1, "{target}: {all}");
    }
}

#[tokio::test]
async fn responses_to_head_and_304_have_no_content_but_keep_its_length() {
    let server = Server::start(|request| {
        let mut response = ok(if request.target == "/full" { "content" } else { "" });
        response.fields = fields("Content-Length: 7\r\n");
        if request.target == "/304" {
            response.status = Status::NOT_MODIFIED;
        }
        Reply::Now(response)
    })
    .await;
    for wire in [
        "HEAD /full HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
        "GET /304 HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
    ] {
        let all = undated(&server.exchange(wire).await);
        assert!(all.ends_with("Content-Length: 7\r\nconnection: close\r\n\r\n"), "{all}");
    }
}

#[tokio::test]
async fn content_arrives_however_it_is_framed_and_cut() {
    let server = Server::start(echo).await;
    let big = "x".repeat(100_000);
    for (framing, expected) in [
        ("Content-Length: 5\r\n\r\nhello".to_owned(), "hello".to_owned()),
        ("Transfer-Encoding: chunked\r\n\r\n3\r\nhel\r\n2\r\nlo\r\n0\r\n\r\n".to_owned(), "hello".to_owned()),
        (
            "Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\nX-Sum: 1\r\nHost: b\r\n\r\n".to_owned(),
            "hello[(\"X-Sum\",\"1\")]".to_owned(),
        ),
        (format!("Content-Length: 100000\r\n\r\n{big}"), big),
    ] {
        for split in [3, 5000, usize::MAX] {
            let mut stream = server.connect().await;
            let wire = format!("POST / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n{framing}");
            let split = if wire.len() > 1000 { split.max(5000) } else { split };
            for piece in wire.as_bytes().chunks(split.min(wire.len())) {
                stream.write_all(piece).await.unwrap();
                tokio::task::yield_now().await;
            }
            let all = read_all(&mut stream).await;
            let content = all.split_once("\r\n\r\n").unwrap().1.replace(' ', "");
            assert_eq!(content, format!("POSTa/{expected}"), "{split}");
        }
    }
}

#[tokio::test]
async fn the_client_is_told_to_continue_only_when_its_content_is_wanted() {
    let server = Server::start(|request| {
        if request.target == "/refused" {
            Reply::Now(Response::new(Status::BAD_REQUEST))
        } else {
            echo(request)
        }
    })
    .await;
    let head = |target| {
        format!("PUT {target} HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\nExpect: 100-continue\r\n\r\n")
    };
    let mut stream = server.connect().await;
    stream.write_all(head("/wanted").as_bytes()).await.unwrap();
    assert_eq!(read_until(&mut stream, "\r\n\r\n").await, "HTTP/1.1 100 Continue\r\n\r\n");
    stream.write_all(b"hi").await.unwrap();
    read_until(&mut stream, "PUT a/wanted hi").await;
    stream.write_all(head("/refused").as_bytes()).await.unwrap();
    let rest = undated(&read_all(&mut stream).await);
    assert_eq!(rest, "HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
}

#[tokio::test]
async fn interim_responses_pass_but_not_to_http10() {
    let server = Server::start(|_| {
        let (send, interim) = mpsc::channel(4);
        let response = async move {
            let hints = Interim { status: Status::new(103).unwrap(), fields: fields("Link: </a>\r\n") };
            send.send(hints).await.unwrap();
            drop(send);
            tokio::task::yield_now().await;
            ok("x")
        };
        Reply::Later(Later { response: Box::pin(response), interim: Some(interim) })
    })
    .await;
    for (version, expected) in
        [("1.1", "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 200"), ("1.0", "HTTP/1.1 200")]
    {
        let all =
            server.exchange(format!("GET / HTTP/{version}\r\nHost: a\r\nConnection: close\r\n\r\n")).await;
        assert!(all.starts_with(expected), "{all}");
    }
}

#[tokio::test]
async fn content_that_nobody_reads_is_drained_up_to_a_limit() {
    let server = Server::start(|_| Reply::Now(ok("x"))).await;
    let mut stream = server.connect().await;
    for _ in 0..2 {
        let wire =
            format!("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 60000\r\n\r\n{}", "y".repeat(60_000));
        stream.write_all(wire.as_bytes()).await.unwrap();
        read_until(&mut stream, "\r\n\r\nx").await;
    }
    stream.write_all(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 10000000\r\n\r\n").await.unwrap();
    let (mut read, mut write) = stream.into_split();
    let flood = async {
        // Fails when the server closes.
        while write.write_all(&[b'y'; 10_000]).await.is_ok() {}
    };
    let (all, ()) = tokio::join!(read_all(&mut read), within(flood));
    assert!(all.starts_with("HTTP/1.1 200"), "{all}");
}

#[tokio::test]
async fn large_content_goes_out_whole_to_a_reader_that_is_slow() {
    let content: Bytes = (0..3_000_000u32).map(|i| (i % 251) as u8).collect::<Vec<_>>().into();
    let shared = content.clone();
    let server = Server::start(move |request| {
        let mut response = ok(shared.clone());
        if request.target == "/stream" {
            let frames =
                shared.chunks(70_000).map(|piece| Ok(Frame::Data(shared.slice_ref(piece)))).collect();
            response.body = stream(frames, Some(shared.len() as u64));
        }
        Reply::Now(response)
    })
    .await;
    for target in ["/", "/stream"] {
        let mut stream = server.connect().await;
        let wire = format!("GET {target} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
        stream.write_all(wire.as_bytes()).await.unwrap();
        read_until(&mut stream, "\r\n\r\n").await;
        let mut all = vec![0; content.len()];
        for piece in all.chunks_mut(100_000) {
            within(stream.read_exact(piece)).await.unwrap();
            tokio::task::yield_now().await;
        }
        assert!(all == content, "{target}");
        assert_eq!(read_all(&mut stream).await, "");
    }
}

#[tokio::test]
async fn an_upgraded_connection_is_the_tunnels() {
    let server = Server::start(|_| {
        let (ours, mut theirs) = tokio::io::duplex(64);
        tokio::spawn(async move {
            let mut room = [0; 4];
            theirs.read_exact(&mut room).await.unwrap();
            theirs.write_all(b"pong").await.unwrap();
        });
        let mut response = Response::new(Status::new(101).unwrap());
        response.fields = fields("Upgrade: ping\r\n");
        response.tunnel = Some(Box::new(ours));
        Reply::Now(response)
    })
    .await;
    let upgrade = "GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: ping\r\n\r\nping";
    let mut stream = server.connect().await;
    stream.write_all(upgrade.as_bytes()).await.unwrap();
    let expected = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: ping\r\nconnection: upgrade\r\n\r\npong";
    assert_eq!(read_until(&mut stream, "pong").await, expected);
    drop(stream);
    let unasked = server.exchange("GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").await;
    assert!(unasked.starts_with("HTTP/1.1 502"), "{unasked}");
}

struct Tell(Arc<Mutex<Vec<Sent>>>);
impl Finish for Tell {
    fn finish(self: Box<Self>, sent: Sent) {
        self.0.lock().unwrap().push(sent);
    }
}

#[tokio::test]
async fn whoever_wants_to_know_is_told_what_was_sent() {
    let told = Arc::new(Mutex::new(Vec::new()));
    let teller = told.clone();
    let server = Server::start(move |request| {
        let mut response = ok("12345");
        if request.target == "/stream" {
            response.body = stream(vec![data("ab"), Err(BodyError::Incomplete)], None);
        }
        response.finish = Some(Box::new(Tell(teller.clone())));
        Reply::Now(response)
    })
    .await;
    for target in ["/", "/stream"] {
        server.exchange(format!("GET {target} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")).await;
    }
    let told = told.lock().unwrap();
    assert_eq!(told.iter().map(|s| s.complete).collect::<Vec<_>>(), [true, false]);
    assert_eq!(told[0].body_bytes, 5);
    assert!(told[0].head_bytes > 50);
}

#[tokio::test]
async fn a_client_that_closes_its_own_side_still_gets_the_response() {
    let server = Server::start(echo).await;
    let mut stream = server.connect().await;
    stream.write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
    stream.shutdown().await.unwrap();
    let all = read_all(&mut stream).await;
    assert!(all.ends_with("GET a/"), "{all}");
}

#[tokio::test]
async fn stopping_closes_idle_connections_and_ends_the_others_with_close() {
    let (begun, mut began) = mpsc::unbounded_channel::<oneshot::Sender<()>>();
    let server = Server::start(move |request| {
        if request.target == "/now" {
            return Reply::Now(ok("now"));
        }
        let (go, gone) = oneshot::channel();
        begun.send(go).unwrap();
        Reply::later(async move {
            gone.await.unwrap();
            ok("done")
        })
    })
    .await;
    let mut idle = server.connect().await;
    idle.write_all(b"GET /now HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
    read_until(&mut idle, "now").await;
    let mut busy = server.connect().await;
    busy.write_all(b"GET /later HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
    let go = within(began.recv()).await.unwrap();
    server.tasks.stop();
    assert_eq!(read_all(&mut idle).await, "");
    go.send(()).unwrap();
    let all = read_all(&mut busy).await;
    assert!(all.contains("connection: close\r\n") && all.ends_with("done"), "{all}");
    drop(busy);
    assert!(server.tasks.shut_down(Duration::from_secs(10)).await);
    assert!(TcpStream::connect(server.addr).await.is_err());
}

/// A handler that notes what the front refused.
#[derive(Default)]
struct Notes(std::sync::Mutex<Vec<String>>);

impl Handler for Notes {
    fn handle(&self, request: Request) -> Reply {
        echo(request)
    }

    fn refused(&self, request: Request, answer: &mut Response) {
        let note = format!("{} {} {}", request.method, request.target, answer.status);
        self.0.lock().unwrap().push(note);
    }
}

#[tokio::test]
async fn the_handler_is_told_what_the_front_refused() {
    let notes = Arc::new(Notes::default());
    let options = FrontOptions {
        heads: HeadLimits { target_bytes_max: 100, ..HeadLimits::default() },
        ..FrontOptions::default()
    };
    let front = Front::new(notes.clone(), options, Clock::real(), &Registry::default());
    let listener = Net::Real.bind("127.0.0.1:0".parse().unwrap()).await.unwrap();
    let addr = listener.local_addr().unwrap();
    let tasks = Tasks::real();
    let serve = front.clone().serve(listener, Endpoint::default(), tasks.clone());
    tasks.spawn("listener", selvedge_rt::OnEnd::Forget, serve);
    let server = Server { addr, tasks, front };
    let long = format!("GET /{} HTTP/1.1\r\nHost: a\r\n\r\n", "x".repeat(200));
    for wire in
        ["GET /a HTTP/1.1\r\n\r\n", "CONNECT a:1 HTTP/1.1\r\nHost: a:1\r\n\r\n", "\u{1} /\r\n\r\n", &long]
    {
        server.exchange(wire).await;
    }
    let noted = notes.0.lock().unwrap().join("\n");
    let beginning = format!("GET /{} 414", "x".repeat(200));
    assert_eq!(noted, format!("GET /a 400\nCONNECT  405\n- / 400\n{beginning}"));
}
