//! nginx with `proxy_cache`, one worker.
//!
//! Set as an operator who wants speed would: no access log, `sendfile`, open files cached, connections to the
//! origin kept, no limit of requests on a connection. `tcp_nopush` stays off, as by default: on loopback, where a
//! segment holds 64 KiB, it makes answers wait 40 ms for acknowledgements (seen with `wrk` too).

use std::fs;
use std::io;
use std::path::Path;

use super::contender::{Contender, Endpoints, Start, version_line};
use super::process::Server;

const PROGRAM: &str = "/usr/sbin/nginx";

/// See the module.
pub(super) struct Nginx;

impl Contender for Nginx {
    fn name(&self) -> &'static str {
        "nginx"
    }

    fn version(&self) -> io::Result<String> {
        version_line(Path::new(PROGRAM), "-v")
    }

    fn configuration(&self, start: &Start<'_>) -> String {
        let Start { origin, capacity, .. } = start;
        let directory = start.directory.display();
        let (certificate, key) = (start.place.certificate_file(), start.place.key_file());
        let (certificate, key) = (certificate.display(), key.display());
        let user = if rustix::process::geteuid().is_root() { "user root;\n" } else { "" };
        let disk = capacity.disk_bytes;
        let listen = listen_lines(&start.endpoints);
        format!(
            "{user}daemon off;
worker_processes 1;
worker_rlimit_nofile 20000;
pid {directory}/nginx.pid;
error_log stderr warn;
events {{ worker_connections 12000; }}
http {{
  access_log off;
  default_type application/octet-stream;
  sendfile on;
  keepalive_timeout 600s;
  keepalive_requests 1000000000;
  open_file_cache max=4000 inactive=600s;
  open_file_cache_valid 600s;
  client_body_temp_path {directory}/client;
  proxy_temp_path {directory}/proxy;
  fastcgi_temp_path {directory}/fastcgi;
  uwsgi_temp_path {directory}/uwsgi;
  scgi_temp_path {directory}/scgi;
  proxy_cache_path {directory}/cache levels=1:2 keys_zone=edge:256m max_size={disk} inactive=1d use_temp_path=off;
  upstream origin {{ server {origin}; keepalive 64; keepalive_requests 1000000000; }}
  ssl_certificate {certificate};
  ssl_certificate_key {key};
  ssl_session_cache shared:tls:16m;
  server {{
{listen}    location / {{
      proxy_pass http://origin;
      proxy_http_version 1.1;
      proxy_set_header Connection \"\";
      proxy_set_header Host $host;
      proxy_cache edge;
      proxy_cache_lock on;
    }}
  }}
}}
"
        )
    }

    fn start(&self, start: &Start<'_>) -> io::Result<Server> {
        let file = start.file("nginx.conf");
        fs::write(&file, self.configuration(start))?;
        let args = ["-p", &start.directory.display().to_string(), "-c", &file.display().to_string()];
        start.spawn(self.name(), Path::new(PROGRAM), &args.map(str::to_owned))
    }
}

/// This nginx chooses HTTP/2 for each listening socket, so every protocol has its own.
fn listen_lines(endpoints: &Endpoints) -> String {
    let mut lines = format!("    listen {};\n", endpoints.http1);
    let others = [(endpoints.h2c, "http2"), (endpoints.tls1, "ssl"), (endpoints.tls2, "ssl http2")];
    for (address, options) in others {
        if let Some(address) = address {
            lines.push_str(&format!("    listen {address} {options};\n"));
        }
    }
    lines
}
