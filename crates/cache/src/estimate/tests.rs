use super::*;

const HOUR: Duration = Duration::from_secs(3600);

fn options(capacities: &[u64]) -> Options {
    Options {
        capacities: capacities.to_vec(),
        freshness: HOUR,
        overhead_bytes: 0,
        bucket: Duration::from_secs(60),
    }
}

/// `seconds METHOD target status bytes`, a line each.
fn replay(options: &Options, requests: &[(u64, &str, &str, u16, u64)]) -> Report {
    let mut estimate = Estimate::new(options);
    for &(secs, method, target, status, bytes) in requests {
        estimate.request(&Request::from(&Record {
            time: UnixMillis::from_secs(secs),
            method: method.as_bytes().into(),
            host: None,
            target: target.as_bytes().into(),
            status,
            bytes,
        }));
    }
    estimate.report()
}

fn hits(requests: &[(u64, &str, &str, u16, u64)]) -> u64 {
    replay(&options(&[1 << 30]), requests).sizes[0].hits.requests
}

#[test]
fn the_second_request_is_a_hit_until_it_is_stale() {
    let get = |secs| (secs, "GET", "/a", 200, 10);
    let report = replay(&options(&[1 << 30]), &[get(0), get(1), get(3599), get(3600), get(3601)]);
    let size = report.sizes[0];
    assert_eq!(
        (size.hits, size.origin),
        (Traffic { requests: 3, bytes: 30 }, Traffic { requests: 2, bytes: 20 })
    );
    assert_eq!(size.stale, 1);
    assert_eq!((size.hit_ratio(), size.byte_hit_ratio()), (0.6, 0.6));
}

#[test]
fn methods_and_statuses_decide_what_is_stored_and_found() {
    let cases: [(&[(&str, u16)], u64); 9] = [
        (&[("GET", 200), ("GET", 200)], 1),
        (&[("GET", 200), ("HEAD", 200)], 1),
        (&[("HEAD", 200), ("GET", 200)], 0),
        (&[("GET", 404), ("GET", 404)], 1),
        (&[("GET", 500), ("GET", 500)], 0),
        (&[("GET", 200), ("GET", 500)], 1),
        (&[("GET", 200), ("POST", 200), ("GET", 200)], 0),
        (&[("GET", 200), ("POST", 500), ("GET", 200)], 1),
        (&[("GET", 200), ("OPTIONS", 200), ("GET", 304)], 1),
    ];
    for (requests, expected) in cases {
        let requests: Vec<_> =
            requests.iter().map(|&(method, status)| (0, method, "/a", status, 5)).collect();
        assert_eq!(hits(&requests), expected, "{requests:?}");
    }
}

#[test]
fn sizes_are_bounded_in_bytes_and_smaller_ones_hit_less() {
    let requests: Vec<_> = (0..2000u64).map(|i| (i, ["/a", "/b", "/c", "/d"][(i % 4) as usize])).collect();
    let requests: Vec<_> = requests.into_iter().map(|(at, target)| (at, "GET", target, 200, 100)).collect();
    let report = replay(&options(&[50, 200, 400]), &requests);
    let hits: Vec<u64> = report.sizes.iter().map(|size| size.hits.requests).collect();
    assert_eq!((hits[0], hits[2]), (0, 1996));
    assert!((600..1000).contains(&hits[1]), "two of the four stay for a while: {hits:?}");
    assert_eq!((report.objects, report.footprint_bytes), (4, 400));
    assert_eq!(report.sizes[0].evictions, 2000);
}

#[test]
fn the_origins_traffic_is_given_over_time() {
    let get = |secs| (secs, "GET", "/a", 200, 10);
    let report = replay(&options(&[0, 100]), &[get(0), get(1), get(61), get(62)]);
    let over_time: Vec<_> =
        report.buckets.iter().map(|b| (b.start.secs(), b.clients.requests, b.origin.clone())).collect();
    let traffic = |requests| Traffic { requests, bytes: requests * 10 };
    assert_eq!(over_time, [(0, 2, vec![traffic(2), traffic(1)]), (60, 2, vec![traffic(2), traffic(0)])]);
}

#[test]
fn lines_that_are_no_requests_are_counted() {
    let mut estimate = Estimate::new(&options(&[1000]));
    estimate.line(br#"1.2.3.4 - - [17/May/2015:10:05:03 +0000] "GET /a HTTP/1.1" 200 17"#);
    estimate.line(br#"{"ts":1431857104,"method":"GET","path":"/a","status":200,"size":17}"#);
    estimate.line(b"nonsense");
    estimate.skip(2);
    let report = estimate.report();
    assert_eq!((report.total.requests, report.skipped, report.sizes[0].hits.requests), (2, 3, 1));
}

#[test]
fn a_size_is_estimated_as_if_it_were_the_only_one() {
    let request = |i: u64| (i, "GET", ["/a", "/b", "/c", "/d", "/e"][(i * i % 5) as usize], 200, 10 + i % 7);
    let requests: Vec<_> = (0..1000).map(request).collect();
    let together = replay(&options(&[20, 40, 100]), &requests);
    for (at, size) in together.sizes.iter().enumerate() {
        let alone = replay(&options(&[size.capacity]), &requests);
        assert_eq!(alone.sizes, [*size]);
        let origin = |report: &Report, at: usize| -> Vec<Traffic> {
            report.buckets.iter().map(|b| b.origin[at]).collect()
        };
        assert_eq!(origin(&alone, 0), origin(&together, at));
    }
}

#[test]
fn asking_for_results_in_between_changes_nothing() {
    let mut estimate = Estimate::new(&options(&[20, 40]));
    let line = |i: u64| {
        format!("1.2.3.4 - - [17/May/2015:10:05:03 +0000] \"GET /{} HTTP/1.1\" 200 {}", i * i % 7, 10 + i % 3)
    };
    let all = |estimate: &mut Estimate, ask: bool| {
        for i in 0..1000 {
            estimate.line(line(i).as_bytes());
            if ask && i % 3 == 0 {
                estimate.hits(0);
            }
        }
        estimate.report()
    };
    let asked = all(&mut estimate, true);
    assert_eq!(asked, all(&mut Estimate::new(&options(&[20, 40])), false));
    assert_eq!(asked.total.requests, 1000);
}
