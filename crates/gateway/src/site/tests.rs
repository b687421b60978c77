use super::*;
use base64::Engine;
use selvedge_exchange::{Body, Client, Request, Response};
use selvedge_types::resource::{Resources, SecretRef};
use selvedge_types::{
    Fields, Manifest, Method, Permissions, Revision, Scheme, Snapshot, Status, UnixMillis, Version, name,
};
use std::sync::Arc;
use std::time::Duration;

struct Secrets;
impl SecretSource for Secrets {
    fn read(&self, reference: &SecretRef) -> Result<Vec<u8>, String> {
        match reference {
            SecretRef::Env(name) => Ok(name.to_lowercase().into_bytes()),
            SecretRef::File(path) => Err(format!("{path}: not there")),
        }
    }
}

fn state() -> RouterState {
    RouterState {
        cluster: "c1".into(),
        ids: Arc::new(RequestIds::new(1, 2)),
        rates: Arc::new(RateTable::new(1000, 1)),
    }
}

fn compile(manifest: &str) -> (Router, Vec<String>) {
    let manifest = Manifest::parse("m", manifest).unwrap_or_else(|e| panic!("{e}"));
    let resources = manifest.apply_to(&Resources::default(), &Permissions::ALL).unwrap();
    Router::compile(&Snapshot::new(Revision(1), resources), state(), &Secrets)
}

fn router(manifest: &str) -> Router {
    compile(manifest).0
}

/// A site on every host, with `more` in its table.
fn site(more: &str) -> Router {
    router(&format!("[site.a]\nhosts = \"*\"\norigin = \"http://o.example\"\n{more}"))
}

/// `METHOD http[s]://host/target`, and header lines separated by `|`.
fn request(line: &str, header: &str) -> Request {
    let (method, url) = line.split_once(' ').unwrap_or(("GET", line));
    let (scheme, rest) = url.split_once("://").unwrap();
    let slash = rest.find('/').unwrap_or(rest.len());
    let wire: String = header.split('|').filter(|l| !l.is_empty()).map(|l| format!("{l}\r\n")).collect();
    Request {
        method: Method::parse(method.as_bytes()).unwrap(),
        scheme: if scheme == "https" { Scheme::Https } else { Scheme::Http },
        authority: rest[..slash].to_owned(),
        target: if slash == rest.len() { "/".into() } else { rest[slash..].to_owned() },
        version: Version::Http11,
        fields: Fields::from_wire(wire.as_bytes()).unwrap(),
        body: Body::Empty,
        client: Client { addr: "192.0.2.1:4000".parse().unwrap(), local: "192.0.2.9:80".parse().unwrap() },
        received: UnixMillis(0),
    }
}

fn route(router: &Router, request: Request) -> Routed {
    route_at(router, request, Duration::ZERO)
}

fn route_at(router: &Router, mut request: Request, now: Duration) -> Routed {
    let entrance = router.enter(&mut request);
    router.route(request, entrance, now)
}

fn answer(router: &Router, line: &str, header: &str) -> Response {
    match route(router, request(line, header)).outcome {
        Outcome::Answer(response) => response,
        Outcome::Forward(..) => panic!("{line} is passed on"),
    }
}

fn forward(router: &Router, line: &str, header: &str) -> (Request, Passage) {
    match route(router, request(line, header)).outcome {
        Outcome::Forward(request, passage) => (request, passage),
        Outcome::Answer(response) => panic!("{line} is answered: {response:?}"),
    }
}

fn wire(fields: &Fields) -> String {
    let mut out = Vec::new();
    fields.write_wire(&mut out);
    String::from_utf8(out).unwrap().replace("\r\n", "|")
}

#[test]
fn the_host_finds_the_site() {
    let router = router(
        "[site.a]\nhosts = [\"a.example\"]\norigin = \"http://o\"\n[site.b]\nhosts = [\"*.b.example\"]\norigin = \"http://o\"",
    );
    for (url, expected) in [
        ("http://a.example/", Some("default/a")),
        ("http://a.example:8080/", Some("default/a")),
        ("http://x.b.example/", Some("default/b")),
        ("http://other.example/", None),
        ("http:///", None),
    ] {
        let routed = route(&router, request(&format!("GET {url}"), ""));
        assert_eq!(routed.about.site.as_deref(), expected, "{url}");
        if expected.is_none() {
            assert_eq!(routed.about.refusal, Some(Refusal::UnknownHost));
            let Outcome::Answer(response) = routed.outcome else { panic!() };
            assert_eq!(response.status.code(), 421);
        }
    }
}

#[test]
fn the_first_route_that_fits_is_taken() {
    let router = site(
        "[site.a.origins.b]\ntargets = \"http://b\"\n\
         [[site.a.route]]\npath = \"/api/*\"\nmethods = [\"POST\"]\nto = \"origin:b\"\n\
         [[site.a.route]]\npath = \"/api/v1/*\"\ncache = { enabled = false }\n\
         [[site.a.route]]\npath = \"*.jpg\"\ncache = { ttl = \"1h\" }",
    );
    let names: Vec<_> = router.origins().iter().map(OriginEntry::unique_name).collect();
    assert_eq!(names, ["default/a:default", "default/a:b"]);
    for (line, origin, described) in [
        ("POST http://a/api/v1/x", 1, "site `default/a`, route[0] `/api/*`"),
        ("GET http://a/api/v1/x", 0, "site `default/a`, route[1] `/api/v1/*`"),
        ("GET http://a/x.jpg?y", 0, "site `default/a`, route[2] `*.jpg`"),
        ("GET http://a/", 0, "site `default/a`"),
    ] {
        let (_, passage) = forward(&router, line, "");
        assert_eq!((passage.origin, passage.rules.described.as_str()), (origin, described), "{line}");
    }
}

#[test]
fn policies_are_laid_site_route_rules() {
    let router = site(
        "cache = { default_ttl = \"1m\", min_ttl = \"1s\", tags = [\"a\"] }\n\
         [[site.a.route]]\npath = \"/r\"\ncache = { default_ttl = \"2m\", tags = [\"r\"] }\n\
         [[site.a.rule]]\nname = \"old\"\nwhen = { header = { X-Old = \"y*\" } }\ncache = { default_ttl = \"3m\" }\n\
         [[site.a.rule]]\nwhen = { query = { v = \"1\" }, cookie = { c = \"*\" } }\ncache = { enabled = false }",
    );
    for (url, header, ttl, enabled, tags, described) in [
        ("http://a/", "", 60, true, "a", "site `default/a`"),
        ("http://a/r", "", 120, true, "a r", "site `default/a`, route[0] `/r`"),
        ("http://a/r", "X-Old: yes", 180, true, "a r", "site `default/a`, route[0] `/r`, rule `old`"),
        ("http://a/", "X-Old: no", 60, true, "a", "site `default/a`"),
        ("http://a/?v=1", "Cookie: b=2; c=1", 60, false, "a", "site `default/a`, rule[1]"),
        ("http://a/?v=%31", "Cookie: c=1|X-Old: y", 180, false, "a", "site `default/a`, rule `old`, rule[1]"),
        ("http://a/?v=2", "Cookie: c=1", 60, true, "a", "site `default/a`"),
    ] {
        let (_, passage) = forward(&router, &format!("GET {url}"), header);
        let rules = &passage.rules;
        assert_eq!(rules.freshness.default_ttl.unwrap().get(), ttl, "{url} {header}");
        assert_eq!(rules.freshness.min_ttl.unwrap().get(), 1);
        assert_eq!((rules.enabled, rules.tags.join(" ").as_str()), (enabled, tags), "{url} {header}");
        assert_eq!(rules.described, described);
    }
}

#[test]
fn rules_about_the_response_refine_the_caches_rules_and_change_its_header() {
    let router = site(
        "response_headers = { set = { X-A = \"1\" } }\n\
         [[site.a.rule]]\nname = \"images\"\nwhen = { path = \"/i/*\", content_type = \"image/*\", status = \"2xx\" }\n\
         cache = { min_ttl = \"1d\" }\nresponse_headers = { set = { X-A = \"2\" } }\n\
         [[site.a.rule]]\nwhen = { status = 404 }\ncache = { ttl = \"5s\" }",
    );
    let image = Fields::from_wire(b"Content-Type: Image/PNG; x=1\r\n").unwrap();
    let (_, passage) = forward(&router, "GET http://a/i/x", "");
    let refined = passage.rules.for_response(Status::OK, &image);
    assert_eq!(refined.freshness.min_ttl.unwrap().get(), 86_400);
    assert_eq!(refined.described, "site `default/a`, rule `images`");
    assert_eq!(passage.rules.for_response(Status::NOT_FOUND, &image).freshness.forced_ttl.unwrap().get(), 5);
    assert!(Arc::ptr_eq(&passage.rules, &passage.rules.for_response(Status::OK, &Fields::new())));
    let (_, elsewhere) = forward(&router, "GET http://a/x", "");
    assert!(Arc::ptr_eq(&elsewhere.rules, &elsewhere.rules.for_response(Status::OK, &image)));

    for (passage, fields, expected) in [(&passage, image, "2"), (&elsewhere, Fields::new(), "1")] {
        let mut response = Response::new(Status::OK);
        response.fields = fields;
        passage.changes.as_ref().unwrap().make(&mut response).unwrap();
        assert_eq!(response.fields.get_all_named(b"x-a").collect::<Vec<_>>(), [expected.as_bytes()]);
    }
}

#[test]
fn another_spelling_of_a_path_does_not_escape_its_route() {
    let router = site("[[site.a.route]]\npath = \"/admin/*\"\naccess = { allow = [\"10.0.0.0/8\"] }");
    for path in ["/admin/x", "/%61dmin/x", "//admin/x", "/a/../admin/x", "/./admin/x", "/admin%2fx"] {
        assert_eq!(answer(&router, &format!("GET http://a{path}"), "").status.code(), 403, "{path}");
    }
}

#[test]
fn what_is_judged_kept_and_sent_is_one_path() {
    let router = site(
        "[[site.a.route]]\npath = \"/admin/*\"\naccess = { allow = [\"10.0.0.0/8\"] }\n\
         [[site.a.route]]\npath = \"/img/*\"\nrewrite = { strip_prefix = \"/img\" }",
    );
    for (path, target, sent) in [
        ("/admin/../pub/1", "/pub/1", None),
        ("/admin/%2e%2e/pub/2?q=%61", "/pub/2?q=%61", None),
        ("/x/%61%2f", "/x/a%2F", None),
        ("/%69mg/a", "/img/a", Some("/a")),
        ("//img/a", "//img/a", Some("/a")),
    ] {
        let (request, passage) = forward(&router, &format!("GET http://a{path}"), "");
        assert_eq!((request.target.as_str(), passage.sent.as_deref()), (target, sent), "{path}");
    }
    for path in ["/admin/..%2fpub/3", "/admin/%2e%2e%5Cpub", "/pub/..;/admin/x"] {
        assert_eq!(answer(&router, &format!("GET http://a{path}"), "").status.code(), 400, "{path}");
    }
}

#[test]
fn what_a_client_lists_in_connection_is_gone_before_rules_and_changes() {
    let router = site(
        "request_headers = { set = { X-Internal = \"1\" } }\n\
         [[site.a.rule]]\nwhen = { header = { X-Tenant = \"*\" } }\ncache = { enabled = false }",
    );
    let (request, passage) =
        forward(&router, "GET http://a/", "X-Tenant: v|Connection: X-Tenant, X-Internal|X-Internal: no");
    assert!(passage.rules.enabled, "the rule sees what the origin sees");
    assert_eq!(wire(&request.fields), "X-Internal: 1|");
}

#[test]
fn connections_are_switched_to_what_the_route_allows() {
    let router = site(
        "[[site.a.route]]\npath = \"/echo\"\nupgrade = [\"echo/1\", \"websocket\"]\n\
         [[site.a.route]]\npath = \"/none\"\nupgrade = []",
    );
    for (path, header, left) in [
        ("/", "Connection: Upgrade|Upgrade: websocket", Some("websocket")),
        ("/", "Connection: Upgrade|Upgrade: h2c, WebSocket", Some("WebSocket")),
        ("/", "Connection: Upgrade, HTTP2-Settings|Upgrade: h2c|HTTP2-Settings: x", None),
        ("/", "Connection: Upgrade|Upgrade: echo/1", None),
        ("/", "Upgrade: websocket", None),
        ("/echo", "Connection: Upgrade|Upgrade: echo/1", Some("echo/1")),
        ("/none", "Connection: Upgrade|Upgrade: websocket", None),
    ] {
        let (request, _) = forward(&router, &format!("GET http://a{path}"), header);
        assert_eq!(request.fields.get_str(name::UPGRADE), left, "{path} {header}");
        assert_eq!(request.fields.len(), usize::from(left.is_some()), "{path} {header}");
    }
}

#[test]
fn addresses_are_let_in_or_not() {
    let router = site("access = { allow = [\"192.0.2.0/24\", \"2001:db8::/32\"], deny = [\"192.0.2.66\"] }");
    for (client, expected) in [
        ("192.0.2.1:1", None),
        ("[::ffff:192.0.2.1]:1", None),
        ("[2001:db8::1]:1", None),
        ("192.0.2.66:1", Some(Refusal::Address)),
        ("198.51.100.1:1", Some(Refusal::Address)),
    ] {
        let mut request = request("GET http://a/", "");
        request.client.addr = client.parse().unwrap();
        assert_eq!(route(&router, request).about.refusal, expected, "{client}");
    }
}

#[test]
fn credentials_are_asked_for_and_not_passed_on() {
    let router = site("auth = { basic = { realm = \"docs\", users = { alice = \"env:SESAME\" } } }");
    let refused = answer(&router, "GET http://a/", "");
    assert_eq!(refused.status.code(), 401);
    assert_eq!(
        refused.fields.get_str(name::WWW_AUTHENTICATE),
        Some("Basic realm=\"docs\", charset=\"UTF-8\"")
    );
    let good =
        format!("Authorization: Basic {}", base64::engine::general_purpose::STANDARD.encode("alice:sesame"));
    let (request, _) = forward(&router, "GET http://a/", &good);
    assert!(!request.fields.contains(name::AUTHORIZATION));
}

#[test]
fn a_secret_that_cannot_be_read_lets_nobody_in_and_is_reported() {
    let (router, problems) = compile(
        "[site.a]\nhosts = \"*\"\norigin = \"http://o\"\nauth = { bearer = { tokens = \"file:/x\" } }",
    );
    assert_eq!(problems, ["site default/a: the token of file:/x is let in nowhere: /x: not there"]);
    assert_eq!(answer(&router, "GET http://a/", "Authorization: Bearer ").status.code(), 401);
}

#[test]
fn rates_hold_for_each_key_and_all_levels() {
    let router = site(
        "rate_limit = { rate = \"1/s\", burst = 2 }\n\
         [[site.a.route]]\npath = \"/k\"\nrate_limit = { by = \"header:X-Key\", rate = \"1/m\", status = 503 }",
    );
    let ask = |line: &str, header: &str, client: &str, ms: u64| {
        let mut request = request(line, header);
        request.client.addr = client.parse().unwrap();
        match route_at(&router, request, Duration::from_millis(ms)).outcome {
            Outcome::Forward(..) => (200, None),
            Outcome::Answer(r) => (r.status.code(), r.fields.get_str(name::RETRY_AFTER).map(str::to_owned)),
        }
    };
    let retry = |code: u16, after: &str| (code, Some(after.to_owned()));
    let (one, two) = ("192.0.2.1:1", "192.0.2.2:1");
    assert_eq!(ask("GET http://a/", "", one, 0), (200, None));
    assert_eq!(ask("GET http://a/", "", one, 0), (200, None));
    assert_eq!(ask("GET http://a/", "", one, 0), retry(429, "1"));
    assert_eq!(ask("GET http://a/", "", two, 0), (200, None));
    assert_eq!(ask("GET http://a/", "", "[2001:db8::1]:1", 0), (200, None));
    assert_eq!(ask("GET http://a/", "", "[2001:db8::2]:1", 0), (200, None), "the same /64");
    assert_eq!(ask("GET http://a/", "", "[2001:db8::3]:1", 0), retry(429, "1"));
    assert_eq!(ask("GET http://a/", "", one, 1000), (200, None));
    assert_eq!(ask("GET http://a/k", "X-Key: a", one, 9000), (200, None));
    assert_eq!(ask("GET http://a/k", "X-Key: a", two, 9000), retry(503, "60"));
    assert_eq!(ask("GET http://a/k", "X-Key: b", two, 9000), (200, None));
}

#[test]
fn redirects_and_fixed_answers() {
    let router = site(
        "response_headers = { set = { X-Site = \"{site}\" } }\n\
         [[site.a.route]]\npath = \"/old/*\"\nredirect = { status = 301, location = \"{scheme}://{host}/new/{rest}?{query}\" }\n\
         [[site.a.route]]\npath = \"/r/*\"\nredirect = { location = \"/{rest}\" }\n\
         [[site.a.route]]\npath = \"/robots.txt\"\nrespond = { body = \"no\", headers = { set = { X-B = \"{path}\" } } }\n\
         [[site.a.route]]\npath = \"/gone\"\nrespond = { status = 410 }",
    );
    let old = answer(&router, "GET https://a.example:8443/old/x%20y?z", "");
    assert_eq!(old.status.code(), 301);
    assert_eq!(old.fields.get_str(name::LOCATION), Some("https://a.example/new/x%20y?z"));
    assert_eq!(old.fields.get_all_named(b"x-site").next(), Some(&b"default/a"[..]));
    let plain = answer(&router, "GET http://a.example/old/x", "");
    assert_eq!(
        plain.fields.get_str(name::LOCATION),
        Some("http://a.example/new/x"),
        "no query, no question mark"
    );
    let open = answer(&router, "GET http://a/r//evil.example", "");
    assert_eq!(open.fields.get_str(name::LOCATION), Some("/evil.example"));
    let robots = answer(&router, "GET http://a/robots.txt?x", "");
    assert_eq!((robots.status.code(), robots.body.length()), (200, Some(2)));
    assert_eq!(robots.fields.get_all_named(b"x-b").next(), Some(&b"/robots.txt"[..]));
    assert_eq!(answer(&router, "GET http://a/gone", "").status.code(), 410);
}

#[test]
fn cleartext_is_sent_to_https_where_that_is_asked() {
    let router = site("force_https = true");
    let response = answer(&router, "GET http://a.example:8080/x?y", "");
    assert_eq!(response.status.code(), 308);
    assert_eq!(response.fields.get_str(name::LOCATION), Some("https://a.example/x?y"));
    forward(&router, "GET https://a.example/x", "");
}

#[test]
fn who_may_not_come_is_not_sent_to_https_and_credentials_are_asked_for_there() {
    let router = site(
        "force_https = true\naccess = { deny = [\"192.0.2.0/24\"] }\n\
         [[site.a.route]]\npath = \"/open\"\naccess = { allow = [\"192.0.2.0/24\"], deny = [] }\n\
         rate_limit = { rate = \"1/s\", burst = 1 }\n\
         auth = { basic = { realm = \"docs\", users = { alice = \"env:SESAME\" } } }",
    );
    let status = |url: &str| answer(&router, url, "").status.code();
    assert_eq!(status("GET http://a/"), 403);
    assert_eq!(status("GET http://a/open"), 308, "credentials are not asked for in cleartext");
    assert_eq!(status("GET http://a/open"), 429);
    assert_eq!(status("GET https://a/open"), 429);
}

#[test]
fn requests_are_changed_before_the_cache_is_asked() {
    let router = site(
        "cache = { strip_request_cookies = [\"_ga*\"] }\n\
         request_headers = { remove = [\"X-Debug\"], set = { X-Site = \"{site}\" }, add = { X-T = [\"1\", \"{path}\"] } }\n\
         rewrite = { strip_prefix = \"/v1\" }\n\
         [[site.a.route]]\npath = \"/item/*\"\nrewrite = { to = \"/item.php?id={rest}\" }",
    );
    let (request, passage) =
        forward(&router, "GET http://a/v1/x?q", "Cookie: _ga=1; b=2|x-debug: 1|X-Site: no");
    assert_eq!((request.target.as_str(), passage.sent.as_deref()), ("/v1/x?q", Some("/x?q")));
    assert_eq!(wire(&request.fields), "cookie: b=2|X-Site: default/a|X-T: 1|X-T: /v1/x|");
    let (_, passage) = forward(&router, "GET http://a/item/7", "");
    assert_eq!(passage.sent.as_deref(), Some("/item.php?id=7"));
    assert_eq!(forward(&router, "GET http://a/x", "").1.sent, None);
}

#[test]
fn requests_go_past_the_cache_as_asked() {
    let router = site(
        "cache = { bypass = { paths = [\"/p/*\"], cookies = [\"session*\"], headers = [\"X-No\"], query = [\"nocache\"] } }",
    );
    for (url, header, expected) in [
        ("http://a/", "Cookie: a=session|X-Yes: 1", false),
        ("http://a/p/x", "", true),
        ("http://a/", "Cookie: a=1; session_id=2", true),
        ("http://a/", "x-no: 1", true),
        ("http://a/?a=1&nocache", "", true),
    ] {
        assert_eq!(forward(&router, &format!("GET {url}"), header).1.bypass, expected, "{url} {header}");
    }
}

#[test]
fn content_is_held_to_the_sites_limit() {
    let router = site("max_body = \"4B\"");
    let mut large = request("POST http://a/", "");
    large.body = Body::from("12345");
    assert_eq!(route(&router, large).about.refusal, Some(Refusal::BodyTooLarge));
    let mut small = request("POST http://a/", "");
    small.body = Body::from("1234");
    assert_eq!(route(&router, small).about.refusal, None);
}

#[test]
fn some_requests_end_here() {
    let router = site("");
    for (line, header, status) in [
        ("TRACE http://a/", "", 405),
        ("CONNECT http://a/", "", 405),
        ("OPTIONS http://a/", "Max-Forwards: 0", 204),
        ("GET http://a/", "Expect: magic", 417),
        ("GET http://a/", "CDN-Loop: other, selvedge; id=c1", 508),
    ] {
        assert_eq!(answer(&router, line, header).status.code(), status, "{line} {header}");
    }
    let mut all = request("OPTIONS http://a/", "");
    all.target = "*".into();
    assert!(matches!(route(&router, all).outcome, Outcome::Answer(r) if r.status.code() == 204));
    let (counted, _) = forward(&router, "OPTIONS http://a/", "Max-Forwards: 3");
    assert_eq!(wire(&counted.fields), "max-forwards: 2|");
    forward(&router, "GET http://a/", "Expect: 100-Continue");
    forward(&router, "GET http://a/", "CDN-Loop: selvedge, selvedge; id=c2");
}

#[test]
fn a_site_without_origin_answers_only_its_routes() {
    let router =
        router("[site.a]\nhosts = \"*\"\n[[site.a.route]]\npath = \"/x\"\nrespond = { body = \"x\" }");
    assert_eq!(answer(&router, "GET http://a/x", "").status.code(), 200);
    assert_eq!(answer(&router, "GET http://a/y", "").status.code(), 404);
}

#[test]
fn the_origin_is_told_the_way_and_claims_of_clients_are_dropped() {
    let router = site("");
    let (mut request, passage) = forward(
        &router,
        "GET http://a.example/",
        "X-Forwarded-For: 10.9.9.9|Forwarded: for=10.9.9.9|X-Real-IP: 1|Via: 1.0 fred|X-Request-Id: x|\
         Surrogate-Capability: x=\"ESI/1.0\"",
    );
    passage.way.describe(&mut request).unwrap();
    let id = request.fields.get_str(name::X_REQUEST_ID).unwrap().to_owned();
    assert_eq!(id.len(), 32);
    assert_eq!(
        wire(&request.fields).replace(&id, "ID"),
        "Via: 1.0 fred|via: 1.1 selvedge|cdn-loop: selvedge; id=c1|surrogate-capability: selvedge=\"Surrogate/1.0\"|\
         forwarded: for=192.0.2.1;host=\"a.example\";proto=http|x-forwarded-for: 192.0.2.1|\
         x-forwarded-host: a.example|x-forwarded-proto: http|x-real-ip: 192.0.2.1|x-request-id: ID|"
    );
}

#[test]
fn proxies_that_are_trusted_are_believed() {
    let router = router(
        "[settings]\ntrusted_proxies = [\"192.0.2.0/24\", \"10.0.0.0/8\"]\n[site.a]\nhosts = \"*\"\norigin = \"http://o\"",
    );
    for (header, client, scheme) in [
        ("", "192.0.2.1", Scheme::Http),
        ("X-Forwarded-For: 198.51.100.7", "198.51.100.7", Scheme::Http),
        (
            "X-Forwarded-For: 1.1.1.1, 198.51.100.7, 10.0.0.1|X-Forwarded-Proto: https",
            "198.51.100.7",
            Scheme::Https,
        ),
        ("X-Forwarded-For: 198.51.100.7:443", "198.51.100.7", Scheme::Http),
        ("X-Forwarded-For: evil, 10.0.0.1", "10.0.0.1", Scheme::Http),
        ("Forwarded: for=10.1.2.3;proto=https", "192.0.2.1", Scheme::Http),
        ("Forwarded: for=10.1.2.3|X-Forwarded-For: 198.51.100.7", "198.51.100.7", Scheme::Http),
        ("X-Forwarded-For: 198.51.100.7|Connection: X-Forwarded-For", "198.51.100.7", Scheme::Http),
    ] {
        let routed = route(&router, request("GET http://a/", header));
        assert_eq!(routed.about.client, client.parse::<std::net::IpAddr>().unwrap(), "{header}");
        let Outcome::Forward(request, _) = routed.outcome else { panic!() };
        assert_eq!(request.scheme, scheme, "{header}");
    }
    let (mut request, passage) =
        forward(&router, "GET http://a/", "X-Forwarded-For: 198.51.100.7|X-Request-Id: mine");
    passage.way.describe(&mut request).unwrap();
    assert_eq!(request.fields.get_str(name::X_FORWARDED_FOR), Some("198.51.100.7, 192.0.2.1"));
    assert_eq!(request.fields.get_str(name::X_REAL_IP), Some("198.51.100.7"));
    assert_eq!(request.fields.get_str(name::X_REQUEST_ID), Some("mine"));
}

#[test]
fn what_a_trusted_proxy_does_not_write_is_the_clients_and_dropped() {
    let of = |field: &str| {
        router(&format!(
            "[settings]\ntrusted_proxies = [\"192.0.2.0/24\"]\ntrusted_proxy_field = \"{field}\"\n\
             [site.a]\nhosts = \"*\"\norigin = \"http://o\"\naccess = {{ allow = [\"198.51.100.0/24\"] }}"
        ))
    };
    let told = |router: &Router, header: &str| {
        let (mut request, passage) = forward(router, "GET http://a/", header);
        passage.way.describe(&mut request).unwrap();
        let all = |name| String::from_utf8(request.fields.joined(name).unwrap()).unwrap();
        [name::FORWARDED, name::X_FORWARDED_FOR, name::X_FORWARDED_PROTO, name::X_REAL_IP].map(all)
    };
    let (by_x, by_forwarded) = (of("x-forwarded-for"), of("forwarded"));
    let header = "Forwarded: for=198.51.100.9|X-Forwarded-For: 203.0.113.1";
    assert_eq!(answer(&by_x, "GET http://a/", header).status.code(), 403);
    let header = "Forwarded: for=10.9.9.9;proto=https|X-Forwarded-For: 198.51.100.7";
    assert_eq!(
        told(&by_x, header),
        [
            "for=198.51.100.7, for=192.0.2.1;host=\"a\";proto=http",
            "198.51.100.7, 192.0.2.1",
            "http",
            "198.51.100.7"
        ]
    );
    let header = "X-Forwarded-For: 198.51.100.9|Forwarded: for=\"[2001:db8::1]:99\"";
    assert_eq!(answer(&by_forwarded, "GET http://a/", header).status.code(), 403);
    let header = "X-Forwarded-For: 1.1.1.1|X-Forwarded-Proto: http|Forwarded: for=198.51.100.7;proto=https";
    assert_eq!(
        told(&by_forwarded, header),
        [
            "for=198.51.100.7;proto=https, for=192.0.2.1;host=\"a\";proto=https",
            "198.51.100.7, 192.0.2.1",
            "https",
            "198.51.100.7"
        ]
    );
    assert_eq!(answer(&by_forwarded, "GET http://a/", "Forwarded: for=_hidden").status.code(), 403);
}

#[test]
fn of_what_a_trusted_proxy_passes_on_nothing_is_believed() {
    let of = |field: &str| {
        router(&format!(
            "[settings]\ntrusted_proxies = [\"192.0.2.0/24\", \"10.0.0.0/8\"]\ntrusted_proxy_field = \"{field}\"\n\
             [site.a]\nhosts = \"*\"\norigin = \"http://o\""
        ))
    };
    let (by_x, by_forwarded) = (of("x-forwarded-for"), of("forwarded"));
    for (router, header, client, scheme) in [
        (&by_forwarded, "Forwarded: for=203.0.113.9;host=\"x,for=10.0.0.1\"", "203.0.113.9", Scheme::Http),
        (&by_forwarded, "Forwarded: for=198.51.100.7;host=\"x", "192.0.2.1", Scheme::Http),
        (&by_forwarded, "Forwarded: for=\"x|Forwarded: for=203.0.113.9", "203.0.113.9", Scheme::Http),
        (&by_forwarded, "Forwarded: proto=https, for=203.0.113.9", "203.0.113.9", Scheme::Http),
        (&by_forwarded, "Forwarded: for=1.1.1.1, by=x;proto=https", "192.0.2.1", Scheme::Https),
        (
            &by_forwarded,
            "Forwarded: for=1.1.1.1;proto=http, for=203.0.113.9;proto=https, for=10.0.0.1;proto=http",
            "203.0.113.9",
            Scheme::Https,
        ),
        (&by_forwarded, "Forwarded: proto=https", "192.0.2.1", Scheme::Https),
        (&by_x, "X-Forwarded-For: 203.0.113.9|X-Forwarded-Proto: https, http", "203.0.113.9", Scheme::Http),
        (
            &by_x,
            "X-Forwarded-For: 203.0.113.9, 10.0.0.1|X-Forwarded-Proto: https, http",
            "203.0.113.9",
            Scheme::Https,
        ),
        (&by_x, "X-Forwarded-Proto: https", "192.0.2.1", Scheme::Https),
    ] {
        let routed = route(router, request("GET http://a/", header));
        assert_eq!(routed.about.client, client.parse::<std::net::IpAddr>().unwrap(), "{header}");
        let Outcome::Forward(request, _) = routed.outcome else { panic!() };
        assert_eq!(request.scheme, scheme, "{header}");
    }
}

/// Run by hand: `cargo test --release -p selvedge-gateway site -- --ignored --nocapture`.
#[test]
#[ignore = "measures"]
fn measure_routing() {
    let plain = site("");
    let full = Manifest::parse("full", include_str!("../../../../examples/full.toml")).unwrap();
    let resources = full.apply_to(&Resources::default(), &Permissions::ALL).unwrap();
    let (full, _) = Router::compile(&Snapshot::new(Revision(1), resources), state(), &Secrets);
    let header = "User-Agent: curl|Accept: */*|Accept-Encoding: gzip|Accept-Language: en|Cookie: a=1";
    for (what, router, line) in [
        ("a plain site", &plain, "GET http://docs.example.com/a/b/c.html?x=1"),
        ("a small site of many", &full, "GET https://docs.example.com/a/b/c.html?x=1"),
        ("a site with everything", &full, "GET https://shop.example.com/a/b/c.html?x=1"),
    ] {
        // Few at a time, so that they are as warm as a request that was just read.
        const BATCHES: u32 = 2000;
        const BATCH: u32 = 32;
        let mut spent = 0;
        for batch in 0..BATCHES {
            let requests: Vec<_> = (0..BATCH).map(|_| request(line, header)).collect();
            let begun = cpu_nanos();
            for request in requests {
                let routed = route_at(router, request, Duration::from_secs(u64::from(batch)));
                assert!(matches!(routed.outcome, Outcome::Forward(..)));
                std::hint::black_box(routed);
            }
            spent += cpu_nanos() - begun;
        }
        println!("{what}: {} ns of CPU a request, with dropping it", spent / u64::from(BATCHES * BATCH));
    }
}

/// Nanoseconds that this thread ran (Linux: the scheduler's own count).
fn cpu_nanos() -> u64 {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap();
    text.split(' ').next().unwrap().parse().unwrap()
}
