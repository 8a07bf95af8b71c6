//! Is a large transfer what was sent, both ways at once? Told by hashes of all bytes.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

use std::hash::{DefaultHasher, Hasher as _};
use std::io::{Read as _, Write as _};
use std::net::{Shutdown, TcpStream};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

/// No end of a transfer is silent for longer.
const PATIENCE: Duration = Duration::from_secs(20);
const CHUNK: usize = 1 << 17;

/// Bytes that repeat nowhere near.
struct Noise(u64);

impl Noise {
    fn fill(&mut self, bytes: &mut [u8]) {
        for word in bytes.chunks_exact_mut(8) {
            self.0 ^= self.0 << 13;
            self.0 ^= self.0 >> 7;
            self.0 ^= self.0 << 17;
            word.copy_from_slice(&self.0.to_le_bytes());
        }
    }
}

/// Sends so many megabytes and tells their hash.
fn send(mut stream: &TcpStream, seed: u64, sent: &AtomicU64, megabytes: u64) -> u64 {
    let (mut noise, mut hash) = (Noise(seed), DefaultHasher::new());
    let mut chunk = vec![0; CHUNK];
    for _ in 0..megabytes * 8 {
        noise.fill(&mut chunk);
        hash.write(&chunk);
        stream.write_all(&chunk).unwrap();
        sent.fetch_add(CHUNK as u64, Relaxed);
    }
    stream.shutdown(Shutdown::Write).unwrap();
    hash.finish()
}

/// The hash of all that comes.
fn receive(mut stream: &TcpStream) -> u64 {
    let (mut hash, mut chunk) = (DefaultHasher::new(), vec![0; CHUNK]);
    let mut held = 0;
    loop {
        let count = stream.read(&mut chunk[held..]).unwrap();
        held += count;
        if count == 0 || held == CHUNK {
            hash.write(&chunk[..held]);
            held = 0;
        }
        if count == 0 {
            return hash.finish();
        }
    }
}

/// Carries so many megabytes each way; `meanwhile` is told how many bytes have left.
pub(crate) fn both_ways(
    client: &TcpStream,
    server: &TcpStream,
    megabytes: u64,
    meanwhile: impl FnOnce(&AtomicU64),
) {
    for stream in [client, server] {
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_write_timeout(Some(PATIENCE)).unwrap();
    }
    let sent = &AtomicU64::new(0);
    std::thread::scope(|scope| {
        let up = scope.spawn(move || send(client, 7, sent, megabytes));
        let down = scope.spawn(move || send(server, 11, sent, megabytes));
        let at_server = scope.spawn(move || receive(server));
        let at_client = scope.spawn(move || receive(client));
        meanwhile(sent);
        assert_eq!(up.join().unwrap(), at_server.join().unwrap(), "there");
        assert_eq!(down.join().unwrap(), at_client.join().unwrap(), "back");
    });
}
