use super::*;
use selvedge_exchange::{Body, Client, Source};
use selvedge_types::resource::ByteSize;
use selvedge_types::{Fields, Method, Scheme, Status, UnixMillis, Version};

fn request() -> Request {
    Request {
        method: Method::Get,
        scheme: Scheme::Https,
        authority: "a.example".into(),
        target: "/a?b=\"".into(),
        version: Version::Http11,
        fields: Fields::from_wire(b"User-Agent: curl \\x\r\n").unwrap(),
        body: Body::Empty,
        client: Client { addr: "192.0.2.1:4000".parse().unwrap(), local: "192.0.2.9:443".parse().unwrap() },
        received: UnixMillis(1_709_210_096_789),
    }
}

pub(super) fn record() -> Record {
    let mut record = Record::of(&request());
    record.status = 200;
    record.source = Source::Memory;
    record.sent = Sent { head_bytes: 100, body_bytes: 1234, complete: true };
    record.took = Duration::from_micros(12_345);
    record
}

fn start(options: &Options, disk: Option<Disk>) -> (AccessLog, Tasks, Registry) {
    let (tasks, registry) = (Tasks::simulated(), Registry::default());
    (AccessLog::start(options, disk, Clock::real(), &tasks, &registry), tasks, registry)
}

fn answer(log: &AccessLog, status: u16) {
    let Some(entry) = log.begin(&request(), Duration::ZERO) else { return };
    let mut response = Response::new(Status::new(status).unwrap());
    entry.attach(&mut response);
    response.finish.unwrap().finish(Sent { head_bytes: 1, body_bytes: 2, complete: true });
}

#[tokio::test(start_paused = true)]
async fn lines_reach_the_file_and_the_rest_when_the_node_stops() {
    let directory = tempfile::tempdir().unwrap();
    let options = Options { to: LogTarget::File, format: LogFormat::Combined, ..Options::default() };
    let (log, tasks, registry) = start(&options, Some(Disk::real(directory.path()).unwrap()));
    let lines =
        || std::fs::read_to_string(directory.path().join("access.log")).unwrap_or_default().lines().count();
    answer(&log, 200);
    answer(&log, 404);
    tokio::time::sleep(BATCH * 3).await;
    assert_eq!(lines(), 2);
    answer(&log, 200);
    assert!(tasks.shut_down(Duration::from_secs(5)).await);
    assert_eq!(lines(), 3);
    assert!(registry.encode().contains("access_log_lines_total 3"));
}

#[tokio::test(start_paused = true)]
async fn followers_see_json_while_the_log_is_off() {
    let (log, _tasks, _) = start(&Options::default(), None);
    assert!(log.begin(&request(), Duration::ZERO).is_none(), "nobody wants it");
    let mut tail = log.follow();
    answer(&log, 304);
    let Some(TailItem::Line(line)) = tail.next().await else { panic!() };
    assert!(line.contains("\"status\":304") && !line.contains('\n'), "{line}");
    drop(tail);
    assert!(log.begin(&request(), Duration::ZERO).is_none());
}

#[tokio::test(start_paused = true)]
async fn requests_that_end_without_an_answer_have_their_line() {
    let (log, _tasks, _) = start(&Options::default(), None);
    let mut tail = log.follow();
    let begin = || log.begin(&request(), Duration::ZERO).unwrap();
    drop(begin());
    let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        let _entry = begin();
        std::panic::resume_unwind(Box::new("as a handler may"));
    }));
    assert!(panicked.is_err());
    let mut response = Response::new(Status::OK);
    begin().attach(&mut response);
    drop(response);
    for status in [499, 500, 200] {
        let Some(TailItem::Line(line)) = tail.next().await else { panic!() };
        let expected = format!("\"status\":{status},\"bytes\":0,\"complete\":false");
        assert!(line.contains(&expected), "{line}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_full_queue_drops_and_counts() {
    let options = Options { to: LogTarget::File, queue: 16, ..Options::default() };
    let directory = tempfile::tempdir().unwrap();
    let (log, tasks, registry) = start(&options, Some(Disk::real(directory.path()).unwrap()));
    (0..20).for_each(|_| answer(&log, 200));
    assert!(tasks.shut_down(Duration::from_secs(5)).await);
    let text = registry.encode();
    assert!(
        text.contains("access_log_dropped_total 4") && text.contains("access_log_lines_total 16"),
        "{text}"
    );
}

#[tokio::test(start_paused = true)]
async fn lines_that_cannot_be_written_are_counted_and_the_log_goes_on() {
    let options = Options { to: LogTarget::File, rotate_size: ByteSize::mib(1), ..Options::default() };
    let (log, tasks, registry) = start(&options, None);
    answer(&log, 200);
    tokio::time::sleep(BATCH * 3).await;
    log.configure(&Options { to: LogTarget::Off, ..options });
    assert!(log.begin(&request(), Duration::ZERO).is_none());
    assert!(tasks.shut_down(Duration::from_secs(5)).await);
    assert!(registry.encode().contains("access_log_dropped_total 1"));
}

#[tokio::test]
async fn what_else_waits_for_the_response_is_told() {
    struct Told(Arc<AtomicBool>);
    impl Finish for Told {
        fn finish(self: Box<Self>, sent: Sent) {
            self.0.store(sent.complete, Ordering::Relaxed);
        }
    }
    let (log, _tasks, _) = start(&Options { to: LogTarget::Stdout, queue: 0, ..Options::default() }, None);
    let told = Arc::new(AtomicBool::new(false));
    let mut response = Response::new(Status::OK);
    response.finish = Some(Box::new(Told(told.clone())));
    log.begin(&request(), Duration::ZERO).unwrap().attach(&mut response);
    response.finish.unwrap().finish(Sent { complete: true, ..Sent::default() });
    assert!(told.load(Ordering::Relaxed));
}

/// Run by hand: `cargo test --release -p selvedge-gateway access_log -- --ignored --nocapture`.
#[tokio::test]
#[ignore = "measures"]
async fn measure_a_line() {
    const BATCHES: u32 = 100;
    const LINES: u32 = 4000;
    let options = Options { to: LogTarget::File, queue: LINES, ..Options::default() };
    let (log, _tasks, _) = start(&options, None);
    let request = request();
    let (mut data_plane, mut writer) = (0, 0);
    for _ in 0..BATCHES {
        let begun = cpu_nanos();
        for _ in 0..LINES {
            let mut response = Response::new(Status::OK);
            log.begin(&request, Duration::ZERO).unwrap().attach(&mut response);
            response.finish.unwrap().finish(Sent::default());
        }
        let formed = cpu_nanos();
        let mut records = lock(&log.0.queue);
        std::hint::black_box(form(&records, &options, None));
        records.clear();
        data_plane += formed - begun;
        writer += cpu_nanos() - formed;
    }
    let a_line = |nanos: u64| nanos / u64::from(BATCHES * LINES);
    println!("on the data plane: {} ns of CPU a line, in the writer {}", a_line(data_plane), a_line(writer));
}

/// Nanoseconds that this thread ran (Linux: the scheduler's own count).
fn cpu_nanos() -> u64 {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap();
    text.split(' ').next().unwrap().parse().unwrap()
}
