//! What may anyone on the node read without root?
//!
//! Owns the metrics and health port: `/metrics` (Prometheus text), `/healthz` (the daemon
//! answers), `/readyz` (pods can be attached). HTTP/1.0, one caller at a time, each bounded in time
//! and size; enough for a scraper and a probe, and nothing more.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::time::Duration;

use crossbeam_channel::{Sender, bounded};

use super::control::Command;

const CALLER_LIMIT: Duration = Duration::from_secs(2);
/// The longest request line that is read, in bytes.
const MAX_REQUEST: u64 = 4096;

/// Serves until control is gone.
pub(super) fn run(listener: &TcpListener, control: &Sender<Command>) {
    for stream in listener.incoming() {
        // Whatever is wrong with a caller is the caller's trouble.
        let _ = stream.and_then(|stream| serve(stream, control));
    }
}

fn serve(stream: TcpStream, control: &Sender<Command>) -> io::Result<()> {
    stream.set_read_timeout(Some(CALLER_LIMIT))?;
    stream.set_write_timeout(Some(CALLER_LIMIT))?;
    let mut reader = BufReader::new(stream);
    let mut line = String::new();
    reader.by_ref().take(MAX_REQUEST).read_line(&mut line)?;
    let mut words = line.split_whitespace();
    let (method, path) = (words.next().unwrap_or(""), words.next().unwrap_or(""));
    let (status, body) = match (method, path) {
        ("GET" | "HEAD", "/metrics" | "/healthz" | "/readyz") => page(path, control),
        ("GET" | "HEAD", _) => (
            "404 Not Found",
            "try /metrics, /healthz or /readyz\n".to_owned(),
        ),
        _ => ("405 Method Not Allowed", "only GET\n".to_owned()),
    };
    let length = body.len();
    let body = if method == "HEAD" { "" } else { &body };
    write!(
        reader.get_mut(),
        "HTTP/1.0 {status}\r\nContent-Type: text/plain; version=0.0.4; charset=utf-8\r\n\
         Content-Length: {length}\r\nConnection: close\r\n\r\n{body}"
    )
}

fn page(path: &str, control: &Sender<Command>) -> (&'static str, String) {
    let (reply, answer) = bounded(1);
    let asked = control.send(Command::Metrics { reply });
    let answer = asked
        .ok()
        .and_then(|()| answer.recv_timeout(CALLER_LIMIT).ok());
    match (answer, path) {
        (None, _) => (
            "503 Service Unavailable",
            "the daemon does not answer\n".to_owned(),
        ),
        (Some((metrics, _)), "/metrics") => ("200 OK", metrics),
        (Some((_, false)), "/readyz") => (
            "503 Service Unavailable",
            "not ready; see weft status\n".to_owned(),
        ),
        (Some(_), _) => ("200 OK", "ok\n".to_owned()),
    }
}
