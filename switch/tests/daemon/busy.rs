//! Senders that hardly pause, for tests of the instants at which a policy could be late.

use std::io::Write as _;
use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use weft_switch::api::Drops;

use super::rig::Space;

/// How often a test repeats itself: what `variable` says, or `usual`.
pub(crate) fn times(variable: &str, usual: u32) -> u32 {
    let asked = std::env::var(variable).ok();
    asked.map_or(usual, |text| text.parse().unwrap())
}

/// Says a result past libtest's capture.
pub(crate) fn say(line: &str) {
    let _ = std::io::stderr().write_all(format!("{line}\n").as_bytes());
}

/// How long a sender rests, so that many of them leave the processor to what they test.
pub(crate) const TICK: Duration = Duration::from_micros(20);

/// A thread that uses a socket again and again until dropped.
pub(crate) struct Busy {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Busy {
    pub(crate) fn new(
        socket: UdpSocket,
        mut turn: impl FnMut(&UdpSocket) + Send + 'static,
    ) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let told = Arc::clone(&stop);
        let thread = std::thread::spawn(move || {
            while !told.load(Ordering::Relaxed) {
                turn(&socket);
            }
        });
        Self {
            stop,
            thread: Some(thread),
        }
    }

    /// Sends to an address every [`TICK`], whether or not there is a way to it, and counts what was
    /// taken.
    pub(crate) fn sending(socket: UdpSocket, to: SocketAddr, taken: Arc<AtomicU64>) -> Self {
        Self::new(socket, move |socket| {
            std::thread::park_timeout(TICK);
            if socket.send_to(b"datagram", to).is_ok() {
                taken.fetch_add(1, Ordering::Relaxed);
            }
        })
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            thread.join().unwrap();
        }
    }
}

/// A socket of a namespace; it stays there whichever thread uses it.
pub(crate) fn socket(space: &Space, at: &str) -> UdpSocket {
    let at: SocketAddr = at.parse().unwrap();
    space.run(|| UdpSocket::bind(at).unwrap())
}

/// What the policies of a pod refused in a direction.
pub(crate) fn denied(drops: &Drops, pod: &str, direction: &str) -> u64 {
    let denials = drops.denials.iter();
    let of = denials.filter(|denial| denial.pod == pod && denial.direction == direction);
    of.map(|denial| denial.packets).sum()
}
