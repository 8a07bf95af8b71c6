//! How fast is one TCP stream between two namespaces?
//!
//! Owns a sender and a receiver on kernel sockets, for a bounded time.

use std::io::{self, Read as _, Write as _};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::thread;
use std::time::Duration;

use weft_sys::netns::Netns;

use super::error::{LabError, LabResult};
use super::time::Stopwatch;

const BLOCK: usize = 256 * 1024;
/// How long a silent peer is waited for.
const SILENCE: Duration = Duration::from_secs(5);

/// Bits per second that arrived at `to` during `length`.
pub(crate) fn measure(
    from: &Netns,
    to: &Netns,
    address: IpAddr,
    length: Duration,
) -> LabResult<f64> {
    let failed = |e: io::Error| {
        LabError::failed(
            format!("TCP to {address}: {e}"),
            "weft status on both nodes",
        )
    };
    let listener = to
        .run(|| TcpListener::bind(SocketAddr::new(address, 0)))?
        .map_err(failed)?;
    let target = listener.local_addr().map_err(failed)?;
    let stream = from
        .run(|| TcpStream::connect_timeout(&target, SILENCE))?
        .map_err(failed)?;
    let (arrived, _) = listener.accept().map_err(failed)?;
    arrived.set_read_timeout(Some(SILENCE)).map_err(failed)?;
    stream.set_write_timeout(Some(SILENCE)).map_err(failed)?;
    let watch = Stopwatch::start();
    let received = thread::scope(|scope| {
        let sender = scope.spawn(move || send(stream, watch, length));
        let received = receive(arrived, watch);
        match sender.join() {
            Ok(Ok(())) => received,
            Ok(Err(error)) => Err(error),
            Err(_) => Err(io::Error::other("the sender broke off")),
        }
    });
    let (bytes, seconds) = received.map_err(failed)?;
    #[expect(clippy::cast_precision_loss, reason = "a rate for people")]
    let bits = bytes as f64 * 8.0;
    Ok(bits / seconds.max(f64::MIN_POSITIVE))
}

fn send(mut stream: TcpStream, watch: Stopwatch, length: Duration) -> io::Result<()> {
    let block = vec![b'w'; BLOCK];
    while watch.left(length).is_some() {
        stream.write_all(&block)?;
    }
    Ok(())
}

/// Counts until the sender closes; the time is that of the last byte.
fn receive(mut stream: TcpStream, watch: Stopwatch) -> io::Result<(u64, f64)> {
    let mut block = vec![0; BLOCK];
    let mut bytes = 0;
    let mut last = watch.elapsed();
    loop {
        match stream.read(&mut block)? {
            0 => return Ok((bytes, last.as_secs_f64())),
            read => {
                bytes += read as u64;
                last = watch.elapsed();
            }
        }
    }
}
